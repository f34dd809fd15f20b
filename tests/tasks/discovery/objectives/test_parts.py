"""Bags of parts over a dictionary that is learned online."""

import copy

import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.tasks.discovery.objectives.part_dictionary import (
    PartDictionary,
    PartSpec,
    squared_distances,
)


def maps(batch=4, channels=3, side=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, side, side, generator=generator).relu()


def dictionary(size=10, channels=3, seed=0, **options):
    return PartDictionary(channels, PartSpec(size=size, **options), seed)


def state(parts):
    return {name: value.clone() for name, value in parts.state_dict().items()}


def test_a_bag_is_the_papers_formula_place_by_place():
    parts, x = dictionary(crop=1), maps()
    before = state(parts)
    bags = parts(x)
    distances = torch.zeros(4, 9, 10)
    for image in range(4):
        for place in range(9):
            feature = x[image, :, 1 + place // 3, 1 + place % 3]
            for part in range(10):
                distances[image, place, part] = (feature - before["entries"][part]).square().sum()
    scale = 0.99 * 0.5 + 0.01 * distances.amin(2).mean()
    torch.testing.assert_close(parts.scale, scale)
    torch.testing.assert_close(bags, (-15 / scale * distances).softmax(2).mean(1))


def test_a_bag_sums_to_1_and_passes_no_gradient():
    bags = dictionary()(maps().requires_grad_())
    torch.testing.assert_close(bags.sum(1), torch.ones(4))
    assert not bags.requires_grad


def test_entries_begin_at_0_or_above():
    entries = dictionary(size=500).entries
    assert (entries >= 0).all()
    assert 0.4 < (entries == 0).float().mean() < 0.6


def test_the_oldest_entries_are_replaced_in_turn_and_the_dictionary_wraps():
    parts = dictionary(size=10)
    for number in range(3):  # 12 rows into 10 entries
        before = parts.entries.clone()
        parts(maps(seed=number) + number + 1)
        slots = [(4 * number + row) % 10 for row in range(4)]
        others = [slot for slot in range(10) if slot not in slots]
        assert torch.equal(parts.entries[others], before[others])
        assert (parts.entries[slots] != before[slots]).any(1).all()
    assert parts.counter == 12


@pytest.mark.parametrize("crop", [0, 1])
def test_one_place_of_each_image_enters_none_of_the_border_where_that_is_cropped(crop):
    parts, x = dictionary(size=400, crop=crop), maps(batch=400)
    parts(x)
    places = x[..., crop : 5 - crop, crop : 5 - crop].flatten(2)
    found = (places == parts.entries[:, :, None]).all(1)
    assert found.any(1).all()
    assert found.any(0).all(), "every place is drawn sometimes"


def test_of_a_batch_larger_than_the_dictionary_the_last_images_stay():
    parts, x = dictionary(size=10), maps(batch=25)
    parts(x)
    for image in range(15, 25):
        assert (x[image].flatten(1) == parts.entries[image % 10][:, None]).all(0).any()
    assert parts.counter == 25


def test_evaluation_changes_nothing():
    parts = dictionary()
    parts(maps())
    before = state(parts)
    first, second = parts.eval()(maps(seed=1)), parts(maps(seed=1))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in state(parts).items())


def test_a_resumed_dictionary_goes_on_as_the_one_that_was_not_stopped():
    whole = dictionary()
    for number in range(3):
        whole(maps(seed=number))
    kept = copy.deepcopy(whole.state_dict())
    resumed = dictionary()
    resumed.load_state_dict(kept)
    torch.randn(3)  # what others draw has no say
    for number in range(3, 6):
        assert torch.equal(whole(maps(seed=number)), resumed(maps(seed=number)))
    assert all(torch.equal(value, state(whole)[name]) for name, value in state(resumed).items())


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    dictionary()(maps())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_decides_entries_and_places():
    same, alike, other = dictionary(seed=1), dictionary(seed=1), dictionary(seed=2)
    assert torch.equal(same.entries, alike.entries)
    assert not torch.equal(same.entries, other.entries)
    same(maps(batch=10)), other(maps(batch=10))
    assert not torch.equal(same.entries, other.entries)


@pytest.mark.parametrize("option", [{"sharpness": 3.0}, {"momentum": 0.5}, {"crop": 0}])
def test_every_option_changes_the_bags(option):
    assert not torch.allclose(dictionary()(maps()), dictionary(**option)(maps()))


@pytest.mark.parametrize("side, crop", [(4, 0), (5, 1)])
def test_only_maps_of_five_or_more_lose_their_border_by_themselves(side, crop):
    x = maps(side=side)
    assert torch.equal(dictionary()(x), dictionary(crop=crop)(x))
    assert not torch.equal(dictionary()(x), dictionary(crop=1 - crop)(x))


def test_a_single_place_is_enough():
    assert dictionary()(maps(side=1)).shape == (4, 10)


def test_no_images_change_nothing():
    parts = dictionary()
    before = state(parts)
    assert parts(maps()[:0]).shape == (0, 10)
    assert all(torch.equal(value, before[name]) for name, value in state(parts).items())


def test_maps_that_are_all_border_are_an_error():
    with pytest.raises(InputError, match="crop: 1 leaves nothing of maps of 2x2; use crop: 0"):
        dictionary(crop=1)(maps(side=2))


@pytest.mark.parametrize("x", [torch.zeros(4, 3), torch.zeros(4, 2, 5, 5)])
def test_what_is_no_map_of_the_channels_is_an_error(x):
    with pytest.raises(InputError, match=r"expected maps \(batch, 3, height, width\)"):
        dictionary()(x)


def test_squared_distances_are_never_negative():
    x = torch.full((1, 2, 8), 1000.1)
    assert (squared_distances(x, x[0]) == 0).all()
