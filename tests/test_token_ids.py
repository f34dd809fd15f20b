"""Ids that an embedding does not have are told with row and value, before and while training."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, Subset, TensorDataset

import peerlearn
from peerlearn.errors import InputError

VOCABULARY = 20
X = torch.randint(0, VOCABULARY, (60, 5), generator=torch.Generator().manual_seed(0))
Y = torch.arange(60) % 2
MASK = torch.ones(60, 5)


class Bag(nn.Module):
    """The mean of the vectors of a text, and of those of places that no id counts for."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(5, 4)
        self.words = nn.Embedding(VOCABULARY, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, input_ids: Any, mask: Any = None) -> Any:
        vectors = self.words(input_ids) + self.places(torch.arange(5))
        kept = vectors if mask is None else vectors * mask[..., None]
        return self.head(kept.mean(1))


class Lazy(Dataset):
    def __init__(self, x: Any) -> None:
        self.x, self.targets = x, Y.tolist()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, row: int) -> Any:
        return self.x[row], self.targets[row]


def cohort() -> peerlearn.Cohort:
    return peerlearn.Cohort({"a": Bag(), "b": Bag()})


def wrong(value: int) -> Any:
    x = X.clone()
    x[45, 2] = value
    return x


@pytest.mark.parametrize(
    ("form", "value", "where"),
    [
        (lambda x: {"train": (x, Y), "test": (X[:9], Y[:9])}, 20, r"data: train: row \d+ \("),
        (lambda x: {"train": (X, Y), "test": (x, Y)}, 900, r"data: test: row 45 \("),
        (lambda x: TensorDataset(x, Y), -3, r"data: (train|val|test): row \d+ \("),
        (lambda x: Subset(TensorDataset(x, Y), range(10, 60)), 20, r"data: \w+: row \d+ \("),
        (lambda x: ({"input_ids": x, "mask": MASK}, Y), 20, r"data: input_ids of \w+: row"),
        (Lazy, 20, "row [0-9]+ of the batch"),
    ],
)
def test_an_id_without_a_vector_is_told_with_its_row(form: Any, value: int, where: str) -> None:
    said = (
        rf"{where}.* id {value}, but the embedding 'words' of peer 'a' has 20 vectors; .* 0 to 19"
    )
    with pytest.raises(InputError, match=said):
        peerlearn.fit(cohort(), form(wrong(value)), epochs=1)


def test_a_loop_of_ones_own_is_told_too() -> None:
    said = "row 45 of the batch holds id 20, but the embedding 'words' of peer 'a' has 20 vectors"
    with pytest.raises(InputError, match=said):
        cohort().loss(wrong(20), Y)


def test_ids_within_the_vocabulary_train_alike_and_other_index_errors_stay() -> None:
    torch.manual_seed(0)
    assert peerlearn.fit(cohort(), (X, Y), epochs=1).block["mean_peer"]["accuracy"] >= 0

    class Broken(Bag):
        def forward(self, input_ids: Any, mask: Any = None) -> Any:
            return [super().forward(input_ids)][1]

    with pytest.raises(IndexError, match="list index out of range"):
        peerlearn.Cohort({"a": Broken(), "b": Bag()}).loss(X, Y)
