"""Fine-Pruning against its definition."""

import pytest
import torch
from tiny_backdoor import CLASSES, clean_rows, images, made, poisoned, purified, read
from torch import Tensor, nn

from peerlearn.data.datasets import Split
from peerlearn.systems.backdoor.defences import DEFENCES
from peerlearn.systems.backdoor.defences.tuning import accuracy


class Units(nn.Module):
    """A classifier of units that are given: the first pixels of an image."""

    def __init__(self, units: int = 8) -> None:
        super().__init__()
        self.classifier = nn.Linear(units, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.flatten(1)[:, : self.classifier.in_features])


def pruned(network: nn.Module) -> list[int]:
    """Numbers of the units that the classifier does not read."""
    return (network.classifier.weight == 0).all(0).nonzero()[:, 0].tolist()


def test_the_least_active_units_go_first() -> None:
    rows = images(32, "units")
    for unit in range(8):  # activity by unit: 7, 0, 6, 1, 5, 2, 4, 3 times 20 and a bit
        rows.x[:, 0, 0, unit] = 20 * (7 - unit // 2 if unit % 2 == 0 else unit // 2)
    network = Units()
    with torch.no_grad():  # told by the bias alone, but for the three most active units
        network.classifier.weight.fill_(1.0)
        network.classifier.weight[0, [0, 2, 4]] = 2.0
    rows.y.zero_()
    clean = clean_rows(rows, rows)
    made("fp", tolerance=0.0, step=0.125).purify(network, clean)
    read_d = read(rows.x)[0].flatten()[:8]
    assert read_d.argsort().tolist() == [1, 3, 5, 7, 6, 4, 2, 0]
    found = pruned(network)
    assert found == sorted(read_d.argsort().tolist()[: len(found)]) and len(found) >= 5


@pytest.mark.parametrize("tolerance", [0.0, 0.1, 0.4])
def test_the_last_mask_that_keeps_the_tolerance_holds(tolerance: float) -> None:
    network = poisoned().network
    clean = clean_rows()
    before = accuracy(network, clean.held_out())
    weight_Cd, least_first = network.classifier.weight.detach().clone(), _order(network)
    made("fp", tolerance=tolerance, step=1 / 16).purify(network, clean)
    count = len(pruned(network))
    assert accuracy(network, clean.held_out()) >= (1 - tolerance) * before
    assert sorted(least_first[:count]) == pruned(network)
    with torch.no_grad():  # one more is one too many
        network.classifier.weight[:, least_first[count]] = 0
        assert accuracy(network, clean.held_out()) < (1 - tolerance) * before
        network.classifier.weight.copy_(weight_Cd)
    assert 0 < count < 16


def _order(network: nn.Module) -> list[int]:
    with torch.no_grad():
        return network(read(images(96, "clean").x)).features["pooled"].mean(0).argsort().tolist()


def test_weights_that_stay_and_all_other_layers_are_untouched() -> None:
    before, after = poisoned().network.state_dict(), purified("fp").state_dict()
    for name in before:
        if name != "classifier.weight":
            assert torch.equal(before[name], after[name]), name
    kept = after["classifier.weight"] != 0
    assert torch.equal(after["classifier.weight"][kept], before["classifier.weight"][kept])


def test_held_out_rows_choose() -> None:
    held = images(64, "others")
    wrong = Split(held.x, (held.y + 1) % CLASSES)  # at accuracy 0 there is nothing to lose
    assert len(pruned(purified("fp", clean_rows(held_out=wrong)))) == 16
    assert len(pruned(purified("fp"))) < 16


def test_the_recipe_tunes_afterwards() -> None:
    assert [method for method, kind in DEFENCES.items() if kind.tunes] == ["fp"]
