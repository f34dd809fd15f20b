"""What is timed side by side does the same work."""

import pytest
import torch

from benchmarks.music import missing
from benchmarks.music.arms import trainer_of as music_trainer_of
from benchmarks.speed.digits import BATCH, loop, trainer_of
from benchmarks.speed.exchange import by_pairs, of_cohort
from benchmarks.speed.work import FP32
from peerlearn.cohort import Cohort
from peerlearn.data.loaders import train_loader
from peerlearn.data.registry import load_dataset
from peerlearn.data.spec import DataSpec


def test_the_hand_written_loop_ends_at_the_weights_of_the_run() -> None:
    batches = train_loader(load_dataset(DataSpec(name="digits")), BATCH, 0)
    by_hand = loop(batches, FP32, epochs=1)
    trainer = trainer_of(batches, "fp32", epochs=1)
    trainer.run()
    for name, network in by_hand.items():
        trained = trainer.cohort.peers[name].state_dict()
        for key, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, trained[key], msg=f"{name}.{key}")


def test_every_pair_by_hand_gives_the_losses_of_the_cohort() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(5, 7, generator=generator) for _ in range(8)]
    y = torch.randint(7, (5,), generator=generator)
    cohort = Cohort({f"peer{n}": torch.nn.Flatten() for n in range(8)}, "predictions: kl")
    ours = torch.stack(of_cohort(cohort, logits, y))
    torch.testing.assert_close(torch.stack(by_pairs(logits, y)), ours)


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("name", ["lastfm", "lastfm-core"])
def test_rivals_of_equal_size_have_the_parameters_of_all_branches(name: str) -> None:
    def parameters(arm: str) -> int:
        cohort = music_trainer_of(missing.HERE / f"{name}.yaml", arm, {}).cohort
        return sum(each.numel() for each in cohort.parameters())

    full = parameters("full")
    for arm in ("concatenation", "lightgcn-social-wide"):
        assert parameters(arm) == pytest.approx(full, rel=0.005), arm
