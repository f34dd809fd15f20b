import torch

from peerlearn.objectives.labels import UNLABELLED, labelled_rows


def test_integer_rows_are_blank_at_the_marker_only():
    assert labelled_rows(torch.tensor([0, UNLABELLED, 3])).tolist() == [True, False, True]


def test_multilabel_rows_of_nan_are_blank():
    y = torch.tensor([[0.0, 1.0], [torch.nan, torch.nan], [0.0, 0.0]])
    assert labelled_rows(y).tolist() == [True, False, True]
