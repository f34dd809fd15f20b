"""Data as users have them in Python: read as what they are, or refused with what was found."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from peerlearn.data.given import read_given
from peerlearn.data.items import ItemSplit
from peerlearn.data.loaders import evaluation_batches, train_loader
from peerlearn.data.spec import DataSpec
from peerlearn.errors import InputError

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 2


class Rows(Dataset):
    """Items that are random, and counted."""

    classes = ("cat", "dog")

    def __init__(self, rows: slice = slice(None), by_name: bool = False, noise: bool = False):
        self.x, self.targets = X[rows], Y[rows].tolist()
        self.by_name, self.noise, self.read = by_name, noise, 0

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> Any:
        self.read += 1
        x = self.x[row]
        if self.noise:
            x = x + torch.rand(()) + random.random() + np.random.rand()
        y = self.targets[row]
        return (
            {"values": x.float(), "scale": torch.tensor(2.0), "label": y}
            if self.by_name
            else (x, y)
        )


class Frame:
    """What a table of pandas is to us."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def to_numpy(self) -> np.ndarray:
        return self.array


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        (X.numpy(), Y.numpy()),
        (X.tolist(), Y.tolist()),
        [X.tolist(), Y.tolist()],
        (Frame(X.numpy()), Frame(Y.numpy())),
        (X.double(), Y[:, None].int()),
        {"x_train": X, "y_train": Y},
        {"train": (X, Y)},
    ],
)
def test_rows_at_hand_are_one_part_of_which_the_others_are_held_out(given: Any) -> None:
    data = read_given(given).data
    assert [len(part) for part in (data.train, data.val, data.test)] == [32, 4, 4]
    everything = torch.cat([part.x for part in (data.train, data.val, data.test)])
    assert sorted(everything[:, 0].tolist()) == sorted(X[:, 0].tolist())
    assert data.account.notes == ("held out of train: 4 for val and 4 for test rows",)
    assert data.mean == pytest.approx(data.train.x.mean(0).tolist(), abs=1e-5)


A, B, C = slice(24), slice(24, 32), slice(32, 40)


@pytest.mark.parametrize(
    "given",
    [
        {"train": (X[A], Y[A]), "val": (X[B], Y[B]), "test": (X[C], Y[C])},
        {"train": (X[A], Y[A]), "validation": (X[B], Y[B]), "test": (X[C], Y[C])},
        ((X[A], Y[A]), (X[B], Y[B]), (X[C], Y[C])),
        {"train": Rows(A), "valid": Rows(B), "test": Rows(C)},
        (Rows(A), Rows(B), Rows(C)),
        tuple(TensorDataset(X[rows], Y[rows]) for rows in (A, B, C)),
        tuple(DataLoader(Rows(rows), 8) for rows in (A, B, C)),
        tuple(list(zip(X[rows], Y[rows].tolist(), strict=True)) for rows in (A, B, C)),
        tuple(Subset(Rows(), range(40)[rows]) for rows in (A, B, C)),
        (ConcatDataset([Rows(slice(9)), Rows(slice(9, 24))]), Rows(B), Rows(C)),
    ],
)
def test_parts_by_place_and_by_name_are_the_same_rows(given: Any) -> None:
    data = read_given(given).data
    for part, rows in (("train", A), ("val", B), ("test", C)):
        split = getattr(data, part)
        assert torch.equal(split.rows(torch.arange(len(split))), X[rows])
        assert torch.equal(split.y, Y[rows])
    assert "held out" not in "".join(data.account.notes)


def test_train_and_test_leave_validation_to_be_held_out() -> None:
    data = read_given((Rows(slice(30)), Rows(slice(30, 40)))).data
    assert [len(part) for part in (data.train, data.val, data.test)] == [27, 3, 10]
    assert data.account.notes == ("held out of train: 3 for val rows",)
    assert data.class_names == ("cat", "dog")
    data = read_given({"train": (X[:30], Y[:30]), "test": (X[30:], Y[30:])}).data
    assert [len(part) for part in (data.train, data.val, data.test)] == [27, 3, 10]


def test_ids_of_tokens_stay_whole_numbers_through_splits_and_batches() -> None:
    ids = torch.randint(0, 50, (40, 7), generator=torch.Generator().manual_seed(0))
    for given in ((ids, Y), (ids.int().numpy(), Y.numpy()), TensorDataset(ids, Y)):
        data = read_given(given).data
        assert (data.mean, data.std) == ((), ())
        (batch,) = list(train_loader(data, 32, 0).epoch(0))
        x, _ = next(evaluation_batches(data.test, 4, data.mean, data.std))
        for found in (batch.x, x):
            assert found.dtype == torch.int64
            assert {tuple(row) for row in found.tolist()} <= {tuple(row) for row in ids.tolist()}
    with pytest.raises(
        InputError, match=r"X|x_train: row 3 holds -5; whole numbers \(N,L\) are ids"
    ):
        read_given((ids.index_fill(0, torch.tensor(3), -5), Y))


def test_several_inputs_by_name_travel_together() -> None:
    inputs = {"input_ids": X.long().abs(), "attention_mask": (X > 0).long()}
    for given in ((inputs, Y), Rows(by_name=True)):
        data = read_given(given).data
        assert isinstance(data.train, ItemSplit)
        (batch,) = list(train_loader(data, 32, 0).epoch(0))
        assert {len(values) for values in batch.x.values()} == {32}
        assert torch.equal(batch.y, data.train.y[batch.index])
    assert set(batch.x) == {"values", "scale"}
    assert torch.equal(batch.x["values"], X[data.train.places[batch.index]])


def test_one_input_by_name_is_the_input() -> None:
    items = [{"image": x, "label": int(y)} for x, y in zip(X, Y, strict=True)]
    data = read_given(items).data
    assert torch.equal(data.train.rows(torch.arange(2)), X[data.train.places[:2]])


def batches(data: Any, workers: int = 0, epoch: int = 0, start: int = 0) -> list[torch.Tensor]:
    loader = train_loader(read_given(data).data, 8, 0, views=2, workers=workers)
    return [view for batch in loader.epoch(epoch, start) for view in batch.views]


def test_what_is_random_in_items_is_drawn_anew_and_keyed() -> None:
    found = batches(Rows(noise=True))
    torch.rand(3), random.random(), np.random.rand()
    again, streamed, later = (
        batches(Rows(noise=True), *options) for options in ((0,), (1,), (0, 0, 2))
    )
    assert all(map(torch.equal, found, again))
    assert all(map(torch.equal, found, streamed))  # workers give the same batches
    assert all(map(torch.equal, found[4:], later))  # so does a resumed epoch
    assert not torch.equal(found[0], found[1])  # two views of the same rows
    assert not torch.equal(found[0], batches(Rows(noise=True), epoch=1)[0])
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    batches(Rows(noise=True))
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1:] == (random.getstate(), np.random.get_state()[1].tolist())


def test_items_are_read_when_they_are_needed_and_no_sooner() -> None:
    rows = Rows()
    data = read_given({"train": rows, "val": Rows(B), "test": Rows(C)}).data
    assert rows.read == 3  # its own labels are compared with those of three items
    next(train_loader(data, 8, 0).epoch(0))
    assert rows.read == 3 + 1 + 8  # the shape of a row, and a batch
    assert not data.in_memory


def test_labels_that_a_data_set_keeps_count_where_its_items_have_them() -> None:
    rows = Rows()
    rows.targets = [1 - label for label in rows.targets]
    held = TensorDataset(X, Y)
    held.targets = rows.targets  # not those of its items
    assert read_given({"train": held, "test": held}).data.test.y.tolist() == Y.tolist()


def test_a_data_loader_says_how_rows_become_batches() -> None:
    def padded(items: list[Any]) -> Any:
        x, y = zip(*items, strict=True)
        return torch.nn.utils.rnn.pad_sequence(x, batch_first=True), torch.tensor(y)

    ragged = [(torch.ones(2 + row % 3), int(row % 2)) for row in range(40)]
    given = read_given(DataLoader(ragged, 16, shuffle=True, collate_fn=padded, num_workers=0))
    assert given.loading == (16, None, 0)
    (batch, *_) = train_loader(given.data, 16, 0).epoch(0)
    assert batch.x.shape == (16, 4)
    assert given.data.account.notes == ("held out of train: 4 for val and 4 for test rows",)
    ordered = read_given((DataLoader(Rows(A), 8), DataLoader(Rows(B), 5)))
    assert ordered.loading == (8, 5, 0)
    assert "training rows are shuffled every epoch" in ordered.data.account.notes
    with pytest.raises(InputError, match=r"data: items do not make a batch.*collate_fn"):
        read_given(ragged)


def test_labels_may_be_texts() -> None:
    names = np.array(["no", "yes"])[Y.numpy()]
    items = [(row, str(name)) for row, name in zip(X, names, strict=True)]
    for given in ((X, names), (X, Frame(names.astype(object))), items):
        data = read_given(given).data
        assert data.class_names == ("no", "yes")
        assert torch.equal(
            data.train.y,
            (data.train.rows(torch.arange(32))[:, 0, None] == X[Y == 1, 0]).any(1).long(),
        )


def test_rows_without_a_label_are_those_of_the_field() -> None:
    y = Y.clone()
    y[:10] = -100
    data = read_given({"train": TensorDataset(X, y), "test": TensorDataset(X, Y)}).data
    assert int((data.train.y == -1).sum()) == 10
    several = torch.stack([Y, 1 - Y, Y], 1).float()
    assert read_given(TensorDataset(X, several)).data.multilabel


class Unsized(Dataset):
    def __getitem__(self, row: int) -> Any:
        return X[row], Y[row]


class Sparse:
    """What a matrix of scipy.sparse is to us."""

    def toarray(self) -> np.ndarray:
        raise NotImplementedError


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, r"data: found int; allowed: \(X, y\)"),
        ((X, X, X, Y, Y), "data: found a tuple of 5; allowed"),
        ((X, X, Y, Y), r"data: found a tuple of 4, .*make it \(\(X_train, y_train\), .*; allowed"),
        (Rows, r"data: found the class Rows itself, rather than Rows\(…\); allowed"),
        ((X.to_sparse(), Y), r"data: X: found a tensor of layout torch.sparse_coo.*a dense one"),
        ((X.to("meta"), Y), "data: X: found a tensor of .* on meta; give a dense one"),
        ((Sparse(), Y), r"data: X: found Sparse, which is sparse; give \.toarray"),
        ((np.ma.masked_array(X, X > 2), Y), r"masked array, of which \d values are hidden"),
        (
            (X, [None] + ["a", "b"] * 19 + ["a"]),
            "data: y: found values of type NoneType, str; .*an",
        ),
        ((X, torch.where(Y > 0, torch.nan, 0.0)), "holds nan, .*; -1 marks a row without a label"),
        (Subset(Rows(), [1, 99]), "data: item 1 of 2 fails: IndexError: "),
        (Unsized(), "data: Unsized has no __len__"),
        (
            DataLoader(Rows(), 4, collate_fn=lambda items: (X[:1], Y[:1])),
            "items make a batch with 1",
        ),
        ({"train": None, "test": Rows()}, "data: train is None; allowed"),
        (X, "data: found Tensor; allowed"),
        (Stream(), "data: an IterableDataset has no length"),
        (DataLoader(Stream(), 4), "data: an IterableDataset has no length"),
        (DataLoader(Rows(), None), "without batches"),
        (DataLoader(Rows(), 4, sampler=WeightedRandomSampler([1.0], 4)), "WeightedRandomSampler"),
        ({"train": Rows(), "tset": Rows()}, "data: unknown part 'tset'. Did you mean 'test'"),
        ({"test": Rows()}, "data: no part 'train'; found test"),
        ({"train": Rows(), "val": Rows(), "valid": Rows()}, "validation part is given twice"),
        ({"train": (X, Y), "test": Rows()}, "data: train are arrays, .*test is a Dataset"),
        ((X, Y[:3]), "data: x_train has 40 rows but y_train has 3"),
        ((X, np.array(["a", 1] * 20, object)), "data: y: found values of type str, int; give"),
        (([[1.0], [1.0, 2.0]], [0, 1]), "data: X: no array"),
        (({"a": X, "b": X[:3]}, Y), "data: b has 3 rows but y has 40"),
        (TensorDataset(X, Y, Y), r"data: items make list of 3; expected \(x, y\)"),
        ([{"a": 1}] * 3, "data: items make a mapping with a; expected"),
        (Subset(Rows(), []), "data: is empty"),
        (
            {"train": Rows(), "test": TensorDataset(X, Y + 1)},
            r"y_test: .*row 1 holds 2, which has no name",
        ),
        ({"x_train": X, "y_train": Y, "x_tset": X}, "x_tset"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "array 'y_test' is missing"),
    ],
)
def test_other_data_are_refused_with_what_was_found(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_given(given)


PAIRS = [
    (Subset(ROWS := Rows(), range(30)), Subset(ROWS, range(25, 40))),
    (Subset(Rows(), range(30)), Subset(Subset(Rows(noise=True), range(10, 40)), range(15, 30))),
    (Subset(ROWS, range(30)), ConcatDataset([Rows(C), Subset(ROWS, [29, 28, 3, 2, 1])])),
    (TensorDataset(X[:30], Y[:30]), TensorDataset(X[25:], Y[25:])),
    ((X[:30], Y[:30]), (X[25:], Y[25:])),
    (({"a": X[:30]}, Y[:30]), ({"a": X[25:]}, Y[25:])),
]


@pytest.mark.parametrize("given", PAIRS)
def test_rows_that_are_in_train_and_in_test_are_told(given: Any) -> None:
    with pytest.warns(UserWarning, match="data: 5 of 1[35] rows of test are in train too; numbers"):
        data = read_given(given).data
    assert data.account.notes[0].startswith("5 of ")


def test_the_same_data_set_twice_is_told_of_every_two_parts() -> None:
    with pytest.warns(UserWarning, match="in train too"):
        data = read_given((ROWS, Subset(ROWS, [1, 2]), ROWS)).data
    assert data.account.notes[:3] == (
        "2 of 2 rows of val are in train too",
        "40 of 40 rows of test are in train too",
        "2 of 40 rows of test are in val too",
    )
    with pytest.warns(UserWarning, match="40 of 40 rows of test are in train too"):
        read_given(replace(data, val=data.test))


AMOUNTS = torch.arange(40) * 7


@pytest.mark.parametrize("given", [(X, AMOUNTS), TensorDataset(X, AMOUNTS)])
def test_numbers_to_predict_are_refused_in_words_of_where_they_were_given(given: Any) -> None:
    with pytest.raises(InputError, match=r"40 different .* classes, give them as texts, such as y"):
        read_given(given)
    with pytest.raises(InputError, match=r"If they are classes, say data\.classes=40; peer"):
        read_given(given, DataSpec())


def test_a_number_of_classes_counts_for_rows_at_hand() -> None:
    spec = DataSpec(classes=300, val_size=1)
    with pytest.raises(InputError, match="must keep one of each class"):
        read_given((X, AMOUNTS), spec)
    for given in ((X, Y), TensorDataset(X, Y)):
        assert read_given(given, DataSpec(classes=5)).data.classes == 5


class Named(Rows):
    def __init__(self, *names: str) -> None:
        super().__init__()
        self.classes = names


def test_names_of_classes_that_do_not_fit_are_told_or_refused() -> None:
    (note, _) = read_given(Named("cat")).data.account.notes
    assert note == "names of classes that the data set keeps are not used: 1 of 2"
    with pytest.raises(InputError, match="class_names has 'cat' twice"):
        read_given(Named("cat", "cat"))


def test_rows_that_were_drawn_twice_before_others_were_held_out_are_told() -> None:
    with pytest.warns(UserWarning, match="rows of (val|test) are in train too"):
        data = read_given(Subset(ROWS, [0, 1, 2, 3] * 10)).data
    assert "4 of 4 rows of test are in train too" in data.account.notes
