"""Which rows attacks poison, and what becomes of labels."""

from dataclasses import replace

import pytest
import torch
from tiny_attacks import CLASSES, attack_of, poisoned, small_images, untrained

from peerlearn.data.datasets import Split
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.systems.backdoor.attacks import ATTACKS
from peerlearn.systems.backdoor.attacks.poisoning import poison

FAST = {
    "label_consistent": {"steps": 2},
    "narcissus": {"rounds": 12},
    "trojan": {"steps": 2},
    "lf": {"steps": 2},
    "input_aware": {"epochs": 1, "mask_epochs": 1, "width": 4},
}
"""Options under which attacks that optimise something are done at once."""
KINDS = list(ATTACKS)
CLEAN_LABEL = [kind for kind, attack in ATTACKS.items() if attack.clean_label]
DIRTY_LABEL = [kind for kind in KINDS if kind not in CLEAN_LABEL]


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def made(kind):
    """20 of 60 rows are of the target class; a tenth of all rows is poisoned."""
    return poisoned(kind, target=1, ratio=0.1, **FAST.get(kind, {}))


def test_the_clean_label_attacks_are_those_of_the_field():
    assert set(CLEAN_LABEL) & set(KINDS) == {"sig", "label_consistent", "narcissus"} & set(KINDS)


def test_a_tenth_of_all_rows_is_poisoned(made):
    assert int(made.poisoned.sum()) == 6


def test_poisoned_rows_get_the_target_and_all_others_keep_their_labels(made, kind):
    before = small_images().train.y
    assert (made.data.train.y[made.poisoned] == 1).all()
    assert torch.equal(made.data.train.y[~made.poisoned], before[~made.poisoned])
    own = before[made.poisoned] == 1
    assert own.all() if kind in CLEAN_LABEL else not own.all()


def test_only_images_of_poisoned_rows_and_decoys_change(made):
    before, after = small_images().train.x, made.data.train.x
    changed = (before != after).flatten(1).any(1)
    assert torch.equal(changed, made.poisoned | made.decoys)
    assert not (made.poisoned & made.decoys).any()
    assert after.dtype == torch.uint8 and after.shape == before.shape


def test_val_and_test_stay_as_they_were(made):
    for part in ("val", "test"):
        before, after = getattr(small_images(), part), getattr(made.data, part)
        assert torch.equal(before.x, after.x) and torch.equal(before.y, after.y)


def test_triggered_rows_are_all_test_rows_but_those_of_the_aimed_class(made):
    test = small_images().test
    assert made.sources.tolist() == (test.y != 1).nonzero()[:, 0].tolist()
    assert torch.equal(made.triggered.y, test.y[made.sources])
    assert (made.aims == 1).all() and not (made.triggered.y == made.aims).any()
    changed = (made.triggered.x != test.x[made.sources]).flatten(1).any(1)
    assert changed.all()


def test_equal_seeds_give_equal_data_and_others_other_rows(made, kind):
    again, other = (
        poisoned(kind, seed=seed, target=1, ratio=0.1, **FAST.get(kind, {})) for seed in (0, 1)
    )
    assert torch.equal(made.data.train.x, again.data.train.x)
    assert torch.equal(made.triggered.x, again.triggered.x)
    assert not torch.equal(made.poisoned, other.poisoned)


def test_the_caller_keeps_its_random_state_and_its_data(kind):
    data, state = small_images(), torch.get_rng_state()
    before = data.train.x.clone()
    poisoned(kind, data, **FAST.get(kind, {}))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(data.train.x, before)


def test_grey_images_that_are_not_square_are_poisoned_too(kind):
    data = small_images(shape=(1, 8, 12))
    made = poisoned(kind, data, **FAST.get(kind, {}))
    assert made.triggered.x.shape[1:] == (1, 8, 12)


@pytest.mark.parametrize("kind", CLEAN_LABEL)
def test_clean_labels_poison_no_more_than_the_target_class(kind):
    made = poisoned(kind, target=2, ratio=0.9, **FAST.get(kind, {}))
    assert torch.equal(made.poisoned, small_images().train.y == 2)


@pytest.mark.parametrize("kind", CLEAN_LABEL)
def test_clean_labels_aim_at_one_class(kind):
    with pytest.raises(ValueError, match=f"to: 'all' with '{kind}', which changes no label"):
        attack_of(kind, to="all")


@pytest.mark.parametrize("kind", CLEAN_LABEL)
def test_clean_labels_need_a_row_of_their_class(kind):
    data = small_images()
    data = replace(data, train=data.train.select((data.train.y != 0).nonzero()[:, 0]))
    with pytest.raises(InputError, match=r"data.attack.target: no training row is of class '0'"):
        poisoned(kind, data)


@pytest.mark.parametrize("kind", DIRTY_LABEL)
def test_all_to_all_aims_at_the_next_class(kind):
    made, before = poisoned(kind, to="all", **FAST.get(kind, {})), small_images()
    rows = made.poisoned
    assert torch.equal(made.data.train.y[rows], (before.train.y[rows] + 1) % CLASSES)
    assert len(made.triggered) == len(before.test)
    assert torch.equal(made.aims, (before.test.y + 1) % CLASSES)


def test_rows_without_a_label_are_never_poisoned():
    data = small_images()
    y = data.train.y.clone()
    y[:30] = UNLABELLED
    made = poisoned("wanet", replace(data, train=data.train.with_labels(y)), ratio=0.5)
    assert int(made.poisoned.sum()) == 15
    assert not (made.poisoned | made.decoys)[:30].any()
    assert (made.data.train.y[:30] == UNLABELLED).all()


def test_what_cannot_be_poisoned_is_refused_by_the_name_of_its_field():
    vectors = small_images()
    vectors = replace(vectors, train=Split(torch.rand(60, 4), vectors.train.y))
    for data, options, said in (
        (vectors, {}, r"data.attack: changes images .*rows of shape \(4,\), float32"),
        (replace(small_images(), in_memory=False), {}, "data.attack: .*in memory"),
        (replace(small_images(), multilabel=True), {}, "data.attack: rows of .*several labels"),
        (small_images(), {"target": 3}, r"data.attack.target: found 3; .*classes 0 to 2"),
        (small_images(), {"size": 9}, "data.attack.size: found 9; allowed: up to 8"),
    ):
        with pytest.raises(InputError, match=said):
            poisoned("badnets", data, **options)
    with pytest.raises(InputError, match=r"^target: found 3"):
        poison(small_images(), attack_of("badnets", target=3), 0, untrained, field="")
    with pytest.raises(InputError, match=r"^attack: changes images"):
        poison(vectors, attack_of("badnets"), 0, untrained, field="")


def test_unknown_attacks_and_options_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"kind: found 'badnet'. Did you mean 'badnets'"):
        attack_of("badnet")
    with pytest.raises(ValueError, match=r"alfa: unknown key. Did you mean 'alpha'"):
        attack_of("blended", alfa=1)
