import pytest
import torch

from peerlearn.data.augment import normalise
from peerlearn.data.loaders import evaluation_batches
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.segmentation.data.loaders import segmentation_loader
from peerlearn.tasks.segmentation.data.masks import (
    IGNORED,
    MaskSplit,
    SegmentationDataset,
    as_targets,
)
from peerlearn.tasks.segmentation.data.spec import SegmentAugmentSpec

SPEC = SegmentAugmentSpec(
    flip=True, rotate90=True, rotation=10, scale=(0.8, 1.25), crop=6, brightness=0.2, contrast=0.2
)


def split(rows=30, labelled=None, multilabel=False):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (rows, 3, 8, 8), dtype=torch.uint8, generator=generator)
    shape = (rows, 2, 8, 8) if multilabel else (rows, 8, 8)
    y = torch.randint(0, 2, shape, dtype=torch.uint8, generator=generator)
    if labelled is not None:
        y[labelled:] = IGNORED
    return MaskSplit(x, y)


def data(in_memory=True, **options):
    train = split(**options)
    return SegmentationDataset("d", train, train, train, classes=2, in_memory=in_memory)


def same(first, second):
    return (
        all(map(torch.equal, first.views, second.views))
        and torch.equal(first.y, second.y)
        and torch.equal(first.index, second.index)
    )


@pytest.mark.parametrize("labelled_per_batch", [0, 3])
def test_an_epoch_resumes_exactly_at_any_step(labelled_per_batch):
    def make():
        options = {"labelled_per_batch": labelled_per_batch, "views": 2}
        return segmentation_loader(data(labelled=20), 8, 7, SPEC, **options)

    whole = list(make().epoch(3))
    assert len(whole) == len(make()) >= 2
    for start in range(len(whole) + 1):
        rest = list(make().epoch(3, start))
        assert len(rest) == len(whole) - start
        assert all(map(same, rest, whole[start:]))


def test_workers_give_the_batches_of_one_process():
    memory, stream = (
        segmentation_loader(data(kind), 8, 7, SPEC, views=2, workers=2) for kind in (True, False)
    )
    assert all(map(same, memory.epoch(1), stream.epoch(1)))


@pytest.mark.parametrize("multilabel", [False, True])
def test_batches_are_the_rows_of_their_index(multilabel):
    given = data(multilabel=multilabel)
    for batch in segmentation_loader(given, 8, 0).epoch(0):
        rows = given.train.x[batch.index]
        assert torch.equal(batch.x, normalise(rows, given.mean, given.std))
        assert torch.equal(batch.y, as_targets(given.train.y[batch.index]))
        assert batch.y.dtype == (torch.float32 if multilabel else torch.int64)


def test_views_show_the_same_pixels_in_other_colours():
    batch = next(segmentation_loader(data(), 8, 0, SPEC, views=3).epoch(0))
    shapes = [(view - view.mean((1, 2, 3), keepdim=True)).flatten(1) for view in batch.views]
    for other in shapes[1:]:
        alike = torch.cosine_similarity(shapes[0], other)
        torch.testing.assert_close(alike, torch.ones(8), atol=1e-4, rtol=0)
    assert not torch.equal(*batch.views[:2])
    assert batch.y.shape == (8, 6, 6)


def test_the_first_view_does_not_depend_on_how_many_there_are():
    one, three = (segmentation_loader(data(), 8, 0, SPEC, views=k) for k in (1, 3))
    for first, second in zip(one.epoch(0), three.epoch(0), strict=True):
        assert torch.equal(first.x, second.x)
        assert torch.equal(first.y, second.y)


def test_epochs_and_seeds_differ_in_order_and_augmentation():
    base = next(segmentation_loader(data(), 30, 7, SPEC).epoch(0))
    for seed, epoch in ((7, 1), (8, 0)):
        other = next(segmentation_loader(data(), 30, seed, SPEC).epoch(epoch))
        order, places = (batch.index.argsort() for batch in (base, other))
        assert not torch.equal(base.index, other.index)
        assert not torch.equal(base.y[order], other.y[places])


def test_mixed_batches_hold_their_share_of_masks():
    loader = segmentation_loader(data(labelled=7), 8, 0, labelled_per_batch=3)
    for batch in loader.epoch(0):
        known = (batch.y != UNLABELLED).flatten(1).any(1)
        assert known.tolist() == [True] * 3 + [False] * 5


def test_evaluation_gives_every_image_once_in_order():
    given = split(11)
    batches = evaluation_batches(given, 4, [0.5] * 3, [0.2] * 3)
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    assert torch.equal(x, normalise(given.x, [0.5] * 3, [0.2] * 3))
    assert torch.equal(y, as_targets(given.y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: 0"),
        ({"views": 0}, "views: 0"),
        ({"labelled_per_batch": 8}, r"labelled_per_batch: 8 .*to 7"),
        ({"labelled_per_batch": 2}, "every training row is labelled"),
        ({"augment": SegmentAugmentSpec(rotate90=True, crop=(4, 6))}, r"augment\.rotate90"),
        ({"workers": -1, "data": data(False)}, "workers: -1"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(options, message):
    with pytest.raises(InputError, match=message):
        segmentation_loader(**{"data": data(), "batch_size": 8, "seed": 0, **options})


def test_the_global_generator_is_untouched_by_loading():
    before = torch.get_rng_state()
    list(segmentation_loader(data(), 8, 0, SPEC, views=2).epoch(0))
    assert torch.equal(before, torch.get_rng_state())
