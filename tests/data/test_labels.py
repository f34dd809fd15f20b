import torch

from peerlearn.data.datasets import Batch
from peerlearn.objectives.labels import UNLABELLED, labelled_mask, labelled_rows


def test_integer_rows_are_blank_at_the_marker_only():
    assert labelled_rows(torch.tensor([0, UNLABELLED, 3])).tolist() == [True, False, True]


def test_multilabel_rows_of_nan_are_blank():
    y = torch.tensor([[0.0, 1.0], [torch.nan, torch.nan], [0.0, 0.0]])
    assert labelled_rows(y).tolist() == [True, False, True]


def test_targets_that_cannot_be_labels_have_no_mask():
    assert labelled_mask(torch.zeros(3)) is None
    assert labelled_mask((torch.zeros(3), torch.ones(3))) is None


def test_a_batch_knows_which_of_its_rows_have_a_label():
    y = torch.tensor([0, UNLABELLED, 3])
    batch = Batch((torch.zeros(3, 2),), y, torch.arange(3))
    assert batch.labelled.tolist() == batch.to("cpu").labelled.tolist() == [True, False, True]
