from dataclasses import replace

import pytest
import torch

from peerlearn.data.augment import normalise
from peerlearn.data.datasets import Split
from peerlearn.data.loaders import ArrayLoader
from peerlearn.data.spec import AugmentSpec
from peerlearn.errors import InputError
from peerlearn.tasks.discovery.data.datasets import DiscoveryDataset
from peerlearn.tasks.discovery.data.loaders import paired_loader, rotation_loader, supervised_loader

SPEC = AugmentSpec(crop=2, flip=True)
LOADERS = [rotation_loader, supervised_loader, paired_loader]


def dataset(rows=50, labelled=20, shape=(3, 8, 8)):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (rows, *shape), dtype=torch.uint8, generator=generator)
    truth = torch.arange(rows) % 3
    truth[labelled:] += 3
    y = torch.where(torch.arange(rows) < labelled, truth, -1)
    return DiscoveryDataset("d", Split(x, y), truth, Split(x, truth), 3, 3, tuple("abcdef"))


def same(first, second):
    pairs = ((first.x, second.x), (first.y, second.y), (first.index, second.index))
    return all(torch.equal(*pair) for pair in pairs)


def plain(data, index):
    return normalise(data.train.x[index], data.mean, data.std)


@pytest.mark.parametrize(
    ("loader", "more"),
    [
        *((loader, {}) for loader in LOADERS),
        (paired_loader, {"labelled_per_batch": 3}),
        (paired_loader, {"copies": 2}),
    ],
)
def test_an_epoch_resumes_exactly_at_any_step(loader, more):
    data = dataset()
    whole = list(loader(data, 8, 7, SPEC, **more).epoch(3))
    assert len(whole) == len(loader(data, 8, 7, SPEC, **more)) >= 2
    for start in range(len(whole) + 1):
        rest = list(loader(data, 8, 7, SPEC, **more).epoch(3, start))
        assert len(rest) == len(whole) - start
        assert all(map(same, rest, whole[start:]))


@pytest.mark.parametrize("loader", LOADERS)
def test_epochs_and_seeds_differ_and_global_generators_do_not(loader):
    data, before = dataset(), torch.get_rng_state()
    base = next(loader(data, 8, 7, SPEC).epoch(0))
    for seed, epoch in ((7, 1), (8, 0)):
        assert not torch.equal(base.index, next(loader(data, 8, seed).epoch(epoch)).index)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("loader", LOADERS)
def test_short_batches_are_dropped(loader):
    batches = loader(dataset(rows=43, labelled=21), 8, 0).epoch(0)
    total = len(torch.cat([batch.index for batch in batches]).unique())
    assert total == (21 if loader is supervised_loader else 43) // 8 * 8


# Rotations.


def test_every_image_comes_in_four_quarter_turns_named_by_their_number():
    data = dataset()
    for batch in rotation_loader(data, 8, 0).epoch(0):
        assert batch.x.shape == (32, 3, 8, 8)
        assert batch.y.tolist() == [0] * 8 + [1] * 8 + [2] * 8 + [3] * 8
        images = plain(data, batch.index[:8])
        for turns in range(4):
            rows = slice(8 * turns, 8 * turns + 8)
            assert torch.equal(batch.x[rows], images.rot90(turns, (2, 3)))
            assert torch.equal(batch.index[rows], batch.index[:8])


def test_an_image_is_changed_once_and_then_turned():
    batch = next(rotation_loader(dataset(), 8, 0, SPEC).epoch(0))
    assert torch.equal(batch.x[8:16], batch.x[:8].rot90(1, (2, 3)))
    assert not torch.equal(batch.x[:8], plain(dataset(), batch.index[:8]))


def test_rotations_see_labelled_and_unlabelled_rows_but_no_label():
    index = torch.cat([batch.index for batch in rotation_loader(dataset(), 10, 0).epoch(0)])
    assert index.unique().tolist() == list(range(50))


@pytest.mark.parametrize(("shape", "found"), [((3, 8, 6), "6x8 pixels"), ((5,), "vectors of 5")])
def test_only_square_images_are_turned(shape, found):
    with pytest.raises(InputError, match=f"rotations: data 'd' has {found}"):
        rotation_loader(dataset(shape=shape), 8, 0)


# Labelled rows alone.


def test_supervised_batches_are_labelled_rows_under_their_numbers_in_train():
    data = dataset()
    for batch in supervised_loader(data, 8, 0).epoch(0):
        assert torch.equal(batch.x, plain(data, batch.index))
        assert torch.equal(batch.y, data.truth[batch.index])
        assert int(batch.y.min()) >= 0


# Pairs.


def test_the_second_half_shows_the_rows_of_the_first_in_another_view():
    data = dataset()
    for batch in paired_loader(data, 8, 0, SPEC).epoch(0):
        assert len(batch.views) == 1
        assert batch.x.shape == (16, 3, 8, 8)
        first, second = batch.x.chunk(2)
        assert not torch.equal(first, second)
        assert torch.equal(*batch.index.chunk(2))
        assert torch.equal(batch.y, data.train.y[batch.index])


def test_pairs_are_the_two_views_of_the_plain_loader():
    data = dataset()
    plain_loader = ArrayLoader(data.train, 8, 0, SPEC, data.mean, data.std, views=2)
    for pair, both in zip(paired_loader(data, 8, 0, SPEC).epoch(2), plain_loader.epoch(2),
                          strict=True):  # fmt: skip
        assert torch.equal(pair.x, torch.cat(both.views))


def test_without_changes_both_views_are_the_image():
    data = dataset()
    batch = next(paired_loader(data, 8, 0).epoch(0))
    assert torch.equal(batch.x, plain(data, batch.index))


def test_truth_of_unlabelled_rows_is_in_no_batch():
    data = dataset()
    for loader in (supervised_loader, paired_loader):
        seen = torch.cat([batch.y for batch in loader(data, 8, 0).epoch(0)])
        assert int(seen.max()) < data.known
    batch = torch.cat([batch.y for batch in paired_loader(data, 8, 0).epoch(0)])
    assert set(batch.tolist()) == {-1, 0, 1, 2}


def test_two_streams_put_their_share_of_labelled_rows_first_in_each_half():
    loader = paired_loader(dataset(), 8, 0, labelled_per_batch=3)
    assert len(loader) == 30 // 5
    for batch in loader.epoch(0):
        for half in batch.y.chunk(2):
            assert half.ge(0).tolist() == [True] * 3 + [False] * 5


def views_by_row(loader, epoch):
    """Every view pair of an epoch, by row."""
    pairs = {}
    for batch in loader.epoch(epoch):
        for row, *pair in zip(batch.index.tolist(), *batch.x.chunk(2), strict=False):
            pairs[row] = torch.stack(pair)
    return pairs


def test_fixed_copies_depend_on_the_row_and_the_copy_alone():
    data = dataset(rows=48)
    loader = paired_loader(data, 8, 0, SPEC, copies=3)
    first, second, again = (views_by_row(loader, epoch) for epoch in (0, 1, 3))
    other_order = views_by_row(paired_loader(data, 6, 0, SPEC, copies=3), 0)
    assert first.keys() == again.keys() == other_order.keys() == set(range(48))
    assert all(torch.equal(first[row], again[row]) for row in first)
    assert all(torch.equal(first[row], other_order[row]) for row in first)
    assert sum(torch.equal(first[row], second[row]) for row in first) < 10
    assert sum(torch.equal(*first[row]) for row in first) < 10


def test_fixed_copies_are_changed_as_the_options_say():
    data = dataset()
    batch = next(paired_loader(data, 8, 0, AugmentSpec(flip=True), copies=1).epoch(0))
    image = plain(data, batch.index)
    as_is = (batch.x == image).flatten(1).all(1)
    mirrored = (batch.x == image.flip(3)).flatten(1).all(1)
    assert bool((as_is | mirrored).all())
    assert 0 < int(as_is.sum()) < 16


@pytest.mark.parametrize("loader", LOADERS)
def test_batches_are_made_on_the_device_of_the_rows(loader):
    data = dataset()
    moved = replace(data, train=data.train.to("cpu"))
    batch = next(loader(moved, 8, 0, SPEC).epoch(0))
    assert same(batch, next(loader(data, 8, 0, SPEC).epoch(0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: 0"),
        ({"copies": -1}, "copies: -1"),
        ({"labelled_per_batch": 8}, "labelled_per_batch: 8"),
        ({"augment": AugmentSpec(crop=8)}, r"augment\.crop"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(options, message):
    with pytest.raises(InputError, match=message):
        paired_loader(**{"data": dataset(), "batch_size": 8, "seed": 0, **options})
