import pytest
import torch

from peerlearn.data.datasets import Source, Split
from peerlearn.data.spec import DataSpec
from peerlearn.data.splits import build_dataset, even_shares, hold_out, proportional_shares
from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED, labelled_rows

COUNTS = [50, 30, 20]


def source(counts=COUNTS, val=False):
    y = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    x = torch.arange(len(y), dtype=torch.float32)[:, None]
    test = Split(torch.zeros(3, 1), torch.arange(3))
    return Source(Split(x, y), test if val else None, test, classes=len(counts))


def ids(split):
    return split.x[:, 0].int().tolist()


def counts(y):
    return y[y != UNLABELLED].bincount(minlength=3).tolist()


def test_validation_is_held_out_in_proportion_and_disjoint():
    data = build_dataset("d", source(), DataSpec(val_size=0.2))
    assert counts(data.val.y) == [10, 6, 4]
    assert sorted(ids(data.val) + ids(data.train)) == list(range(100))


def test_val_size_of_one_or_more_is_a_count():
    assert len(build_dataset("d", source(), DataSpec(val_size=7)).val) == 7


def test_validation_depends_on_the_split_seed_and_on_how_many_labels_it_may_have():
    base = build_dataset("d", source(), DataSpec())
    smaller = build_dataset("d", source(), DataSpec(train_size=9, labels=6, val_labels="all"))
    assert ids(base.val) == ids(smaller.val)
    assert ids(base.val) != ids(build_dataset("d", source(), DataSpec(split_seed=1)).val)


def test_validation_has_no_more_labels_than_training():
    whole = build_dataset("d", source(), DataSpec(val_size=30))
    few = build_dataset("d", source(), DataSpec(val_size=30, labels=6))
    assert counts(few.val.y) == [2, 2, 2], "of every class as many, as labels of train"
    assert set(ids(few.val)) < set(ids(whole.val))
    assert few.account.notes == (
        "val: 6 of 30 rows are used (no more labels than training has; data.val_labels=all for "
        "all of them)",
    )
    more = build_dataset("d", source(), DataSpec(val_size=30, labels=6, val_labels=9))
    assert set(ids(few.val)) < set(ids(more.val)) and len(more.val) == 9
    other = build_dataset("d", source(), DataSpec(val_size=30, labels=6, split_seed=1))
    assert ids(other.val) != ids(few.val)
    many = build_dataset("d", source(), DataSpec(val_size=30, labels=40))
    assert ids(many.val) == ids(whole.val) and not many.account.notes


def test_labels_of_fewer_classes_than_validation_has_still_choose_rows():
    given = Source(Split(torch.zeros(9, 1), torch.arange(9) % 2), *[source(val=True).test] * 2, 3)
    assert len(build_dataset("d", given, DataSpec(labels=2)).val) == 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (31, r"data\.val_labels: 31 asked for; allowed: up to 30"),
        (2, r"data\.val_labels: 2 is less"),
    ],
)
def test_labels_that_validation_does_not_have_are_refused(asked, said):
    with pytest.raises(InputError, match=said):
        build_dataset("d", source(), DataSpec(val_size=30, val_labels=asked))


def test_a_given_validation_split_is_kept():
    assert len(build_dataset("d", source(val=True), DataSpec(val_size=0.5)).train) == 100


def test_train_size_takes_equal_numbers_and_then_what_is_left():
    def kept(size):
        return counts(build_dataset("d", source(val=True), DataSpec(train_size=size)).train.y)

    assert kept(30) == [10, 10, 10]
    assert kept(80) == [30, 30, 20]
    assert sorted(kept(31)) == [10, 10, 11]


@pytest.mark.parametrize("size", [3, 30, 77, 100])
def test_train_size_and_labels_pick_the_same_rows(size):
    kept = build_dataset("d", source(val=True), DataSpec(train_size=size)).train
    train = build_dataset("d", source(val=True), DataSpec(labels=size)).train
    known = labelled_rows(train.y)
    assert len(train) == 100
    assert ids(train.select(known.nonzero()[:, 0])) == ids(kept)
    assert train.y[known].tolist() == kept.y.tolist()


def test_smaller_selections_are_part_of_larger_ones():
    small, large = (
        set(ids(build_dataset("d", source(val=True), DataSpec(train_size=n)).train))
        for n in (10, 50)
    )
    assert small < large


def test_labels_are_chosen_among_the_kept_rows():
    train = build_dataset("d", source(val=True), DataSpec(train_size=30, labels=6)).train
    assert len(train) == 30
    assert counts(train.y) == [2, 2, 2]


def test_rows_without_a_label_keep_their_share_and_are_never_held_out():
    given = source()
    y = given.train.y.clone()
    y[::2] = UNLABELLED
    given = given._replace(train=given.train.with_labels(y))
    data = build_dataset("d", given, DataSpec(val_size=10, train_size=45))
    assert labelled_rows(data.val.y).all()
    assert int(labelled_rows(data.train.y).sum()) == round(45 * 40 / 90)


def test_multilabel_rows_are_held_out_and_hidden_with_nan():
    y = torch.eye(4).repeat(10, 1)
    given = Source(Split(torch.zeros(40, 2), y), None, Split(torch.zeros(4, 2), torch.eye(4)), 4)
    data = build_dataset("d", given, DataSpec(val_size=4, labels=5))
    assert int(labelled_rows(data.train.y).sum()) == 5
    assert len(data.val) == 4


@pytest.mark.parametrize(
    ("field", "value"), [("train_size", 101), ("train_size", 2), ("labels", 101), ("labels", 2)]
)
def test_impossible_sizes_name_their_field(field, value):
    with pytest.raises(InputError, match=rf"^data\.{field}: {value} .*allowed: .*100"):
        build_dataset("d", source(val=True), DataSpec(**{field: value}))


def test_holding_out_leaves_one_row_of_each_class():
    rest, _ = hold_out(source([2, 2, 96]).train, 97, 0, "val")
    assert counts(rest.y) == [1, 1, 1]
    with pytest.raises(InputError, match=r"data\.val_size: 98 .*up to 97"):
        hold_out(source([2, 2, 96]).train, 98, 0, "val")
    with pytest.raises(InputError, match=r"f: 1 .* the rows has 3 labelled .*so give more rows"):
        hold_out(source([1, 1, 1]).train, 1, 0, "val", "f", "the rows")


def test_shares_add_up_and_never_exceed_a_class():
    counts = torch.tensor([5, 1, 40, 7])
    for size in range(54):
        for allocate in (even_shares, proportional_shares):
            shares = allocate(counts, size)
            assert int(shares.sum()) == size
            assert bool((shares <= counts).all())


def test_a_size_that_nothing_is_held_out_for_is_told() -> None:
    told = build_dataset("d", source(val=True), DataSpec(val_size=2)).account.lines()
    assert told == [
        "data.val_size: 2 does nothing here, for there are val and test rows; data.val_labels says "
        "how many of val are used"
    ]
    for held_out, size in ((False, 2), (True, 0.1)):
        assert not build_dataset("d", source(val=held_out), DataSpec(val_size=size)).account.lines()
