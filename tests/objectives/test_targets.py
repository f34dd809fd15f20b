"""Targets in the forms that users have them: read where the meaning is plain, refused in words."""

import math
from collections import UserDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import peerlearn
from peerlearn.errors import InputError
from peerlearn.objectives.targets import read_labels
from peerlearn.randomness import seeded_rng

Y = torch.tensor([0, 2, 1, 2])
Z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
NAN = math.nan


def cohort(objective: object = None, form: str = "softmax") -> peerlearn.Cohort:
    with seeded_rng(0):
        peers = {name: nn.Linear(5, 3) for name in ("a", "b")}
    return peerlearn.Cohort(peers, objective=objective, form=form)


def rows(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "given",
    [
        *(Y.to(kind) for kind in (torch.int32, torch.uint8, torch.int8, torch.int16)),
        *(Y[:, None], Y.float(), Y[:, None].double()),
        *(F.one_hot(Y, 3), F.one_hot(Y, 3).bool(), F.one_hot(Y, 3).float()),
        *(Y.numpy(), Y.tolist(), np.array([0, 2, 1, 2], np.uint16)),
    ],
)
@pytest.mark.parametrize("objective", [None, nn.CrossEntropyLoss()])
def test_the_same_labels_in_another_form_give_the_same_loss(
    given: object, objective: object
) -> None:
    found, expected = cohort(objective).loss(rows(), given), cohort(objective).loss(rows(), Y)
    assert found == expected
    assert found > 0


def test_minus_100_is_a_row_without_a_label() -> None:
    marked = torch.tensor([0, -100, 1, -1])
    assert read_labels(marked, Z, "softmax").tolist() == [0, -1, 1, -1]
    assert cohort().loss(rows(), marked) == cohort().loss(rows(), torch.tensor([0, -1, 1, -1]))
    # Without looking at values, as on an accelerator after the first batch, it is the same.
    assert read_labels(marked, Z, "softmax", look=False).tolist() == [0, -1, 1, -1]


def test_a_one_hot_row_of_nan_has_no_label_and_pixels_are_rows() -> None:
    one_hot = F.one_hot(Y, 3).float()
    one_hot[1] = NAN
    assert read_labels(one_hot, Z, "softmax").tolist() == [0, -1, 1, 2]
    masks = torch.tensor([[[0, 1], [2, 0]]])
    logits = torch.zeros(1, 3, 2, 2)
    for given in (masks, masks[:, None], masks.byte(), F.one_hot(masks, 3).permute(0, 3, 1, 2)):
        assert torch.equal(read_labels(given, logits, "softmax"), masks)


def test_several_labels_a_row_may_be_whole_numbers() -> None:
    y = torch.tensor([[1, 0, 1], [0, 0, 0], [-1, -1, -1], [-100, -100, -100]])
    expected = torch.tensor([[1.0, 0, 1], [0, 0, 0], [NAN] * 3, [NAN] * 3])
    torch.testing.assert_close(read_labels(y, Z, "sigmoid"), expected, equal_nan=True)
    assert cohort(form="sigmoid").loss(rows(), y) == cohort(form="sigmoid").loss(rows(), expected)
    one = read_labels(torch.tensor([1, 0, 1, -1]), Z[:, :1], "sigmoid")
    torch.testing.assert_close(one, torch.tensor([[1.0], [0], [1], [NAN]]), equal_nan=True)


@pytest.mark.parametrize(
    ("given", "form", "said"),
    [
        (torch.tensor([0, 1, 3, 0]), "softmax", "1 are no class, the first is 3 in row 2; outputs"),
        (torch.tensor([0, 1, -2, 0]), "softmax", "the first is -2 in row 2.*allowed are 0 to 2"),
        (Y[:3], "softmax", r"targets: 3 for 4 rows; outputs of shape \(4, 3\) need classes"),
        (torch.zeros(4, 2), "softmax", r"targets: shape \(4, 2\); outputs of shape \(4, 3\)"),
        (torch.tensor([0, 0.5, 1, 2]), "softmax", "numbers such as 0.5, which are no classes"),
        (torch.tensor([0, NAN, 1, 2]), "softmax", "numbers such as nan, which are no classes"),
        (torch.full((4, 3), 1 / 3), "softmax", r"row 0 holds \[0\.33.*form='sigmoid'"),
        (torch.ones(4, 3, dtype=torch.int64), "softmax", r"row 0 holds \[1, 1, 1\]"),
        (Y, "sigmoid", r"targets: shape \(4,\) in a cohort of form 'sigmoid'.*form='softmax'"),
        (torch.full((4, 3), 2), "sigmoid", "found 2 in a cohort of form 'sigmoid'"),
        ({"labels": Y}, "softmax", "targets: found dict that are no labels"),
        (["cat", "dog", "cat", "dog"], "softmax", "targets: found list that are no labels"),
        (Y.to("meta"), "softmax", "targets: on meta, but the outputs are on cpu"),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_what_is_no_label_is_refused_in_words(
    given: object, form: str, said: str, plain: bool
) -> None:
    losses = {"softmax": nn.CrossEntropyLoss(), "sigmoid": nn.BCEWithLogitsLoss()}
    with pytest.raises(InputError, match=said):
        cohort(losses[form] if plain else None, form=form).loss(rows(), given)


def test_an_empty_batch_and_outputs_without_classes_are_refused() -> None:
    with pytest.raises(InputError, match="x: the batch is empty"):
        cohort().loss(rows(0), Y[:0])
    with pytest.raises(InputError, match="x: the batch is empty"):
        cohort().losses(cohort()(rows(0)), Y[:0])
    with pytest.raises(InputError, match="over one class softmax is always 1"):
        peerlearn.Cohort({"a": nn.Linear(5, 1)}, "none").loss(rows(), Y)
    with pytest.raises(InputError, match=r"outputs: shape \(4,\); expected logits"):
        read_labels(Y, Z[:, 0], "softmax")


def test_a_loss_that_fails_or_gives_no_scalar_is_named() -> None:
    with pytest.raises(InputError, match=r"objective: CrossEntropyLoss gave shape \(4,\)"):
        cohort(nn.CrossEntropyLoss(reduction="none")).loss(rows(), Y)
    with pytest.raises(InputError, match=r"objective: BCEWithLogitsLoss fails on logits \(4, 3\)"):
        cohort(nn.BCEWithLogitsLoss()).loss(rows(), Y)
    with pytest.raises(InputError, match=r"objective: CrossEntropyLoss fails.*weight"):
        cohort(nn.CrossEntropyLoss(weight=torch.ones(5))).loss(rows(), Y)


class Reader(nn.Module):
    """Reads token ids and where they count, as transformers do."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self.embed, self.head, self.output = nn.Embedding(9, 4), nn.Linear(4, 3), output

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        h = (self.embed(input_ids) * attention_mask[..., None]).sum(1)
        z = self.head(h)
        return {"dict": {"logits": z}, "tuple": (z.sum(), z), "tensor": z}[self.output]


class Whole(nn.Module):
    """Takes a batch by name as one argument."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, batch: dict) -> object:
        return self.reader(**batch)


def readers(*outputs: str) -> list[Reader]:
    with seeded_rng(0):
        return [Reader(output) for output in outputs]


def test_a_batch_by_name_becomes_the_arguments_of_forward() -> None:
    ids = torch.randint(0, 9, (4, 6), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": (ids > 2).float()}
    found = []
    for pair in (readers("dict", "tuple"), readers("tensor", "tensor"), readers("dict", "dict")):
        peers = dict(zip("ab", pair, strict=True))
        found.append(peerlearn.Cohort(peers).loss(batch, Y))
        found.append(peerlearn.Cohort(peers).loss(UserDict(batch), Y))
        whole = {name: Whole(peer) for name, peer in peers.items()}
        found.append(peerlearn.Cohort(whole).loss(batch, Y))
    assert len({loss.item() for loss in found}) == 1
    other = batch | {"attention_mask": torch.ones(4, 6)}
    assert peerlearn.Cohort(dict(zip("ab", pair, strict=True))).loss(other, Y) != found[0]
    with pytest.raises(
        InputError, match=r"peers\.a: forward\(input_ids, attention_mask\) does not"
    ):
        peerlearn.Cohort({"a": pair[0]}, "none").loss(batch | {"token_type_ids": ids}, Y)
