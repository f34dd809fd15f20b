"""Randomness by name: the same everywhere, different for different names, never global."""

import pytest
import torch

from peerlearn.randomness import derive_seed, keyed_generator, preserved_rng, seeded_rng


def test_seeds_are_the_same_on_every_platform_and_in_every_version():
    assert derive_seed(0, "weights", "a") == 4022300439340930283
    assert derive_seed(1, "order", 3) == 1899752789088821221


def test_seeds_differ_in_every_part_of_their_key():
    keys = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", 2), (0, "a", "b"), (0, "ab")]
    assert len({derive_seed(*key) for key in keys}) == len(keys)


def test_the_parts_of_a_key_do_not_run_together():
    assert derive_seed(0, "a", "bc") != derive_seed(0, "ab", "c")
    assert derive_seed(1, 23) != derive_seed(12, 3)
    assert derive_seed(0, "a", "b") != derive_seed(0, "b", "a")


def test_seeds_fit_torch():
    for number in range(200):
        seed = derive_seed(number, "x")
        assert 0 <= seed < 2**63
        torch.Generator().manual_seed(seed)


def test_a_keyed_generator_starts_its_stream_every_time():
    first = torch.rand(5, generator=keyed_generator(3, "noise"))
    again = torch.rand(5, generator=keyed_generator(3, "noise"))
    other = torch.rand(5, generator=keyed_generator(3, "masks"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_keyed_generator_leaves_the_global_one_alone():
    before = torch.random.get_rng_state()
    torch.rand(5, generator=keyed_generator(3, "noise"))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("context", [preserved_rng, lambda: seeded_rng(0, "x")])
def test_global_randomness_is_put_back(context):
    before = torch.random.get_rng_state()
    with context():
        torch.rand(5)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("context", [preserved_rng, lambda: seeded_rng(0, "x")])
def test_global_randomness_is_put_back_after_an_error(context):
    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="stop"), context():
        torch.rand(5)
        raise RuntimeError("stop")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_preserved_block_continues_the_stream_it_found():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with preserved_rng():
        assert torch.equal(torch.rand(3), expected)


def test_a_seeded_block_draws_the_same_whatever_ran_before():
    draws = []
    for _ in range(2):
        torch.rand(7)
        with seeded_rng(5, "dropout", "a"):
            draws.append(torch.rand(4))
    assert torch.equal(*draws)
    with seeded_rng(5, "dropout", "b"):
        assert not torch.equal(torch.rand(4), draws[0])


def test_a_seeded_block_draws_what_torch_draws_from_that_seed():
    torch.manual_seed(derive_seed(5, "dropout"))
    expected = torch.rand(4)
    with seeded_rng(5, "dropout"):
        assert torch.equal(torch.rand(4), expected)


def test_seeded_blocks_nest():
    with seeded_rng(0, "outer"):
        expected = torch.rand(4)
    with seeded_rng(0, "outer"):
        first = torch.rand(2)
        with seeded_rng(0, "inner"):
            torch.rand(9)
        assert torch.equal(torch.cat([first, torch.rand(2)]), expected)
