import time

import pytest
import torch
import torch.nn.functional as F

from peerlearn.data.augment import normalise
from peerlearn.data.datasets import Dataset, Split
from peerlearn.data.loaders import ArrayLoader, evaluation_batches, train_loader
from peerlearn.data.spec import AugmentSpec
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED, labelled_rows

SPEC = AugmentSpec(crop=2, flip=True, cutout=2, rotation=10)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)


def split(rows=50, labelled=None):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (rows, 3, 8, 8), dtype=torch.uint8, generator=generator)
    y = torch.arange(rows) % 5
    if labelled is not None:
        y[labelled:] = UNLABELLED
    return Split(x, y)


def same(first, second):
    return (
        len(first.views) == len(second.views)
        and all(torch.equal(a, b) for a, b in zip(first.views, second.views, strict=True))
        and torch.equal(first.y, second.y)
        and torch.equal(first.index, second.index)
    )


def indices(loader, epoch=0):
    return torch.cat([batch.index for batch in loader.epoch(epoch)])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("labelled_per_batch", [0, 3])
def test_an_epoch_resumes_exactly_at_any_step(workers, labelled_per_batch):
    def make():
        options = {"labelled_per_batch": labelled_per_batch, "workers": workers}
        return ArrayLoader(split(labelled=20), 8, 7, SPEC, MEAN, STD, 2, **options)

    whole = list(make().epoch(3))
    assert len(whole) == len(make()) > 2
    for start in range(len(whole) + 1):
        rest = list(make().epoch(3, start))
        assert len(rest) == len(whole) - start
        assert all(map(same, rest, whole[start:]))


@pytest.mark.parametrize("workers", [1, 2])
def test_streamed_batches_equal_those_from_memory(workers):
    for options in ({}, {"labelled_per_batch": 3, "views": 2, "drop_last": False}):
        memory = ArrayLoader(split(labelled=20), 8, 7, SPEC, MEAN, STD, **options)
        stream = ArrayLoader(split(labelled=20), 8, 7, SPEC, MEAN, STD, **options, workers=workers)
        pairs = list(zip(memory.epoch(1), stream.epoch(1), strict=True))
        assert all(same(*pair) for pair in pairs)
        assert isinstance(pairs[0][1].views, tuple)


def test_epochs_and_seeds_differ_in_order_and_augmentation():
    base = next(ArrayLoader(split(), 8, 7, SPEC).epoch(0))
    for loader, epoch in ((ArrayLoader(split(), 8, 7, SPEC), 1), (ArrayLoader(split(), 8, 8), 0)):
        assert not torch.equal(base.index, next(loader.epoch(epoch)).index)


def test_batches_are_the_rows_of_their_index_normalised():
    data = split()
    for batch in ArrayLoader(data, 8, 0, None, MEAN, STD).epoch(0):
        assert torch.equal(batch.x, normalise(data.x[batch.index], MEAN, STD))
        assert torch.equal(batch.y, data.y[batch.index])


def test_views_differ_but_show_the_same_rows():
    loader = ArrayLoader(split(), 8, 0, AugmentSpec(flip=True), views=3)
    one = ArrayLoader(split(), 8, 0, AugmentSpec(flip=True))
    for batch, single in zip(loader.epoch(0), one.epoch(0), strict=True):
        assert torch.equal(batch.x, single.x)
        assert not torch.equal(batch.views[1], batch.views[2])
        plain = normalise(split().x[batch.index])
        for view in batch.views:
            either = (view == plain).flatten(1).all(1) | (view == plain.flip(3)).flatten(1).all(1)
            assert bool(either.all())


def test_every_row_comes_once_an_epoch():
    assert indices(ArrayLoader(split(48), 8, 0)).sort().values.tolist() == list(range(48))
    assert len(indices(ArrayLoader(split(50), 8, 0)).unique()) == 48
    assert len(indices(ArrayLoader(split(50), 8, 0, drop_last=False)).unique()) == 50


@pytest.mark.parametrize("drop_last", [True, False])
def test_no_epoch_is_empty_and_no_batch_is_a_single_row(drop_last):
    for rows in range(2, 30):
        for size in (2, 3, 8):
            loader = ArrayLoader(split(rows), size, 0, drop_last=drop_last)
            sizes = [len(batch.index) for batch in loader.epoch(0)]
            assert len(sizes) == len(loader) >= 1
            assert min(sizes) >= 2
            if not drop_last:
                assert sum(sizes) == rows


def test_mixed_batches_hold_their_share_of_labels_and_cycle_all_of_them():
    data = split(50, labelled=7)
    loader = ArrayLoader(data, 8, 0, labelled_per_batch=3)
    batches = list(loader.epoch(0))
    assert len(batches) == 43 // 5
    for batch in batches:
        assert labelled_rows(batch.y).tolist() == [True] * 3 + [False] * 5
    known = torch.cat([batch.index[:3] for batch in batches])
    assert known[:7].sort().values.tolist() == known[7:14].sort().values.tolist()
    assert known[:7].tolist() != known[7:14].tolist()
    assert len(torch.cat([batch.index[3:] for batch in batches]).unique()) == 40


def test_mixed_batches_work_with_fewer_unlabelled_rows_than_places():
    (batch,) = ArrayLoader(split(10, labelled=8), 8, 0, labelled_per_batch=2).epoch(0)
    assert len(batch.index) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: 0"),
        ({"views": 0}, "views: 0"),
        ({"labelled_per_batch": 8}, r"labelled_per_batch: 8 .*to 7"),
        ({"labelled_per_batch": 2}, "every training row is labelled"),
        ({"split": split(50, labelled=0), "labelled_per_batch": 2}, "row is unlabelled"),
        ({"split": split(1)}, "1 row"),
        ({"augment": AugmentSpec(crop=8)}, r"augment\.crop"),
        ({"split": Split(torch.zeros(9, 4), torch.zeros(9)), "augment": SPEC}, "vectors of 4"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_options_that_do_not_fit_are_refused_at_once(workers, options, message):
    with pytest.raises(InputError, match=message):
        ArrayLoader(**{"split": split(), "batch_size": 8, "seed": 0, "workers": workers, **options})


def test_the_global_generator_is_untouched_by_loading():
    before = torch.get_rng_state()
    for workers in (0, 1):
        list(ArrayLoader(split(), 8, 0, SPEC, workers=workers).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_evaluation_gives_every_row_once_in_order():
    data = split(11)
    x, y = (torch.cat(part) for part in zip(*evaluation_batches(data, 4, MEAN, STD), strict=True))
    assert torch.equal(x, normalise(data.x, MEAN, STD))
    assert torch.equal(y, data.y)
    with pytest.raises(InputError, match="batch_size"):
        next(evaluation_batches(data, 0))


@pytest.mark.parametrize("in_memory", [True, False])
def test_train_loader_follows_the_data_set_and_uses_its_statistics(in_memory):
    data = Dataset("d", split(), split(), split(), classes=5, in_memory=in_memory)
    loader = train_loader(data, 10, 0, workers=1)
    assert loader.workers == (0 if in_memory else 1)
    x = torch.cat([batch.x for batch in loader.epoch(0)])
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3))


def test_statistics_of_large_offsets_do_not_cancel():
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1e6
    rows = Split(x, torch.zeros(500, dtype=torch.int64))
    data = Dataset("d", rows, rows, rows, classes=2)
    assert data.mean == pytest.approx(x.mean(0).tolist())
    assert data.std == pytest.approx(x.std(0, correction=0).tolist())


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_batched_augmentation_is_much_faster_than_one_row_at_a_time():
    """At least twice as fast here, to stand noise; the benchmarks state the real ratio."""
    rows, spec = 1024, AugmentSpec(crop=4, flip=True)
    x = torch.randint(0, 256, (rows, 3, 32, 32), dtype=torch.uint8)
    data = Split(x, torch.zeros(rows, dtype=torch.int64))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, STD))

    class PerRow(torch.utils.data.Dataset):
        def __len__(self):
            return rows

        def __getitem__(self, i):
            image = F.pad(x[i].float() / 255, (4, 4, 4, 4), mode="reflect")
            top, left, flip = torch.randint(0, 9, (3,)).tolist()
            image = image[:, top : top + 32, left : left + 32]
            return ((image.flip(2) if flip > 4 else image) - mean) / std, data.y[i]

    def seconds(batches):
        started = time.perf_counter()
        for _ in batches():
            pass
        return time.perf_counter() - started

    loader = ArrayLoader(data, 128, 0, spec, MEAN, STD)
    per_row = torch.utils.data.DataLoader(PerRow(), 128)
    fast = min(seconds(lambda: loader.epoch(0)) for _ in range(5))
    slow = min(seconds(lambda: per_row) for _ in range(2))
    assert slow > 2 * fast
