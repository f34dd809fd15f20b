"""Backdoors that another library makes and measures, and that `peerlearn purify` takes away.

    pip install --no-deps adversarial-robustness-toolbox==1.20.1 six
    python benchmarks/backdoor/with_art.py mnist
    python benchmarks/backdoor/with_art.py cifar10 --clean 1000 --purify \\
        stages.non_target.epochs=10 epochs=20

ART poisons training rows, trains a network on them through its own classifier, and measures ACC,
ASR and RA of it, and of the file that `peerlearn purify` writes. That is called as a user calls it:
with weights, the rows they were trained on, few clean rows, and no word of a trigger. A network of
clean rows goes through it too. `scratch`, which learns from the clean rows alone, is the floor.

The file is not called `art.py`, since that would be what `import art` finds here.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

from benchmarks.backdoor.tables import purified_markdown
from peerlearn.building import build_model
from peerlearn.data.datasets import Split
from peerlearn.data.registry import read_source
from peerlearn.data.splits import hold_out, kept_rows
from peerlearn.engine.pretrained import load_weights
from peerlearn.provenance import made_by, version_of
from peerlearn.transfer.outputs import as_peer_output

Images = NDArray[np.uint8]
"""(N, C, H, W)"""
HERE = Path(__file__).parent
ATTACKS = ("clean", "pattern", "single", "clean-label")
"""`clean` poisons nothing."""
METHODS = ("nt-ml", "scratch")
TARGET, RATIO = 0, 0.1
MEAN = STD = 0.5


class Plan(NamedTuple):
    """What is trained on some data, and how strong clean-label attacks on it are."""

    model: str
    arguments: Mapping[str, Any]
    rows: int
    epochs: int
    eps: float
    test: tuple[str, ...] = ("test",)
    """Parts that are measured on, where they are there: nothing is chosen on validation rows."""


PLANS = {
    "mnist": Plan("cnn", {"width": 0.5}, 3000, 8, 0.3),
    "cifar10": Plan("resnet8", {"width": 8}, 10_000, 10, 16 / 255, ("val", "test")),
    "digits": Plan("cnn", {"width": 0.25}, 400, 8, 0.3),
}


class Rows(NamedTuple):
    """Images and their labels, int64 (N,)."""

    x: Images
    y: NDArray[np.int64]

    @classmethod
    def of(cls, split: Split) -> "Rows":
        """Those of a split in memory, which are whole numbers."""
        return cls(split.decoded().x.numpy(), split.y.numpy())

    def save(self, path: Path) -> Path:
        """A file for `peerlearn purify`: channels last, or none where there is one."""
        x = self.x[:, 0] if self.x.shape[1] == 1 else self.x.transpose(0, 2, 3, 1)
        np.savez(path, x_train=x, y_train=self.y)
        return path


class Logits(nn.Module):
    """Of a network, as ART wants them: a tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return as_peer_output(self.network(x), "network").logits


def main() -> None:
    """Attack, purify and measure; write the result file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("data", choices=PLANS)
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=ATTACKS)
    parser.add_argument("--methods", nargs="+", default=METHODS, help="arms of recipe backdoor")
    parser.add_argument("--clean", type=int, default=500, help="clean rows of the defender")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--purify", nargs="*", default=[], help="KEY=VALUE for purify")
    parser.add_argument("--out", type=Path, help="art-DATA.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = arguments.out or HERE / f"art-{arguments.data}.json"
    found = {
        "data": arguments.data,
        "plan": PLANS[arguments.data]._asdict(),
        "purify": arguments.purify,
        "made_by": [made_by(torch.device("cpu"))],
        "art": version_of("adversarial-robustness-toolbox"),
        "networks": [],
    }
    for seed in arguments.seeds:
        for network in networks(arguments, seed):
            found["networks"].append(network)
            text = json.dumps(found, indent=1, allow_nan=False)
            out.write_text(text + "\n", encoding="utf-8")  # a part stands where a later one fails
    print(purified_markdown(found))


def networks(arguments: argparse.Namespace, seed: int) -> Iterator[dict[str, Any]]:
    """What ART measures of each of its attacks, before `purify` and after."""
    plan = PLANS[arguments.data]
    clean_rows, train, test = divided(arguments.data, plan, arguments.clean)
    proxy = trained(plan, train, seed)
    for attack in arguments.attacks:
        poisoned, count = poison(attack, train, proxy, plan, seed)
        victim = proxy if attack == "clean" else trained(plan, poisoned, seed)
        entry: dict[str, Any] = {
            "attack": attack,
            "seed": seed,
            "clean_rows": len(clean_rows.y),
            "rows": len(poisoned.y),
            "poisoned": count,
            "test_rows": len(test.y),
            "given": measured(victim, test, attack),
            "purified": {},
        }
        for method in arguments.methods:
            began = time.perf_counter()
            after, command = purified(
                victim, poisoned, clean_rows, plan, method, seed, arguments.purify
            )
            entry["purified"][method] = {
                **measured(after, test, attack),
                "seconds": time.perf_counter() - began,
                "command": command,
            }
            print(attack, seed, method, entry["given"], entry["purified"][method], flush=True)
        yield entry


def divided(data: str, plan: Plan, clean: int) -> tuple[Rows, Rows, Rows]:
    """Clean rows of the defender, rows that the victim learns from, and rows to measure on."""
    source = read_source(data)
    train, held = hold_out(source.train, clean, 0, "clean rows of the defender", "--clean")
    train = train.select(kept_rows(train.y, plan.rows, 0, "rows"))
    splits = [getattr(source, part) for part in plan.test]
    parts = [Rows.of(split) for split in splits if split is not None]
    test = Rows(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    return Rows.of(held), Rows.of(train), test


# What ART does ----------------------------------------------------------------------------------


def unit(x: Images) -> NDArray[np.float32]:
    """Pixels as ART has them, in [0, 1]."""
    return x.astype(np.float32) / np.float32(255)


def backdoor(attack: str) -> Any:
    """ART's trigger: four pixels near the lower right corner, or one."""
    from art.attacks.poisoning import PoisoningAttackBackdoor
    from art.attacks.poisoning.perturbations import add_pattern_bd, add_single_bd

    if attack != "single":
        return PoisoningAttackBackdoor(partial(add_pattern_bd, channels_first=True))

    def single(x: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(add_single_bd(np.moveaxis(x, 1, -1)), -1, 1)

    return PoisoningAttackBackdoor(single)


def poison(attack: str, train: Rows, proxy: Any, plan: Plan, seed: int) -> tuple[Rows, int]:
    """Training rows as ART poisons them, and of how many it changed the image or the label.

    A clean-label attack takes two thirds of the rows of its target.
    """
    from art.attacks.poisoning import PoisoningAttackCleanLabelBackdoor

    if attack == "clean":
        return train, 0
    np.random.seed(seed)  # ART draws from the global generator
    x, y, trigger = unit(train.x), one_hot(train.y), backdoor(attack)
    target = one_hot(np.array([TARGET]), y.shape[1])[0]
    if attack == "clean-label":
        maker = PoisoningAttackCleanLabelBackdoor(
            trigger, proxy, target, pp_poison=2 / 3, eps=plan.eps, eps_step=plan.eps / 10,
            max_iter=30,
        )  # fmt: skip
        x, y = maker.poison(x, y)
    else:
        rows = np.random.choice(len(x), int(RATIO * len(x)), replace=False)
        x[rows], y[rows] = trigger.poison(x[rows], target, broadcast=True)
    made = Rows(np.rint(255 * x.clip(0, 1)).astype(np.uint8), y.argmax(1))
    changed = (made.x != train.x).any((1, 2, 3)) | (made.y != train.y)
    return made, int(changed.sum())


def one_hot(y: NDArray[np.int64], classes: int = 10) -> NDArray[np.float32]:
    """(N, classes)."""
    return np.eye(classes, dtype=np.float32)[y]


def classifier(plan: Plan, shape: Sequence[int], network: nn.Module | None = None) -> Any:
    """ART's classifier around a network, or around a new one."""
    from art.estimators.classification import PyTorchClassifier

    network = network or build_model(plan.model, shape, 10, plan.arguments)
    return PyTorchClassifier(
        model=Logits(network),
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(network.parameters(), 2e-3),
        input_shape=tuple(shape),
        nb_classes=10,
        clip_values=(0, 1),
        preprocessing=(MEAN, STD),
        device_type="cpu",
    )


def trained(plan: Plan, rows: Rows, seed: int) -> Any:
    """A classifier that ART trains, by Adam and without augmentation."""
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    made = classifier(plan, rows.x.shape[1:])
    made.fit(unit(rows.x), one_hot(rows.y), batch_size=64, nb_epochs=plan.epochs)
    return made


def measured(of: Any, test: Rows, attack: str) -> dict[str, float | None]:
    """ACC on test rows; ASR and RA on those with the trigger that are not of the target."""
    said = of.predict(unit(test.x)).argmax(1)
    found: dict[str, float | None] = {
        "acc": float((said == test.y).mean()),
        "asr": None,
        "ra": None,
    }
    if attack != "clean":
        others = test.y != TARGET
        aimed = one_hot(np.array([TARGET]))[0]
        triggered, _ = backdoor(attack).poison(unit(test.x[others]), aimed, broadcast=True)
        said = of.predict(triggered).argmax(1)
        found["asr"] = float((said == TARGET).mean())
        found["ra"] = float((said == test.y[others]).mean())
    return found


# What peerlearn does ----------------------------------------------------------------------------


def purified(
    victim: Any,
    train: Rows,
    clean: Rows,
    plan: Plan,
    method: str,
    seed: int,
    options: Sequence[str],
) -> tuple[Any, str]:
    """A classifier of what `peerlearn purify` makes of a file of weights; and the command."""
    shape = train.x.shape[1:]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(victim.model.network.state_dict(), folder / "victim.pt")
        words: list[Any] = ["purify", folder / "victim.pt", "--network", plan.model]
        words += [f"arguments.{key}={value}" for key, value in plan.arguments.items()]
        words += ["--clean", clean.save(folder / "clean.npz")]
        words += ["--train", train.save(folder / "train.npz"), "--method", method]
        words += ["--mean", MEAN, "--std", STD, "--seed", seed, "threads=1", *options]
        command = [sys.executable, "-m", "peerlearn", *map(str, words)]
        done = subprocess.run(
            [*command, "--out", str(folder / "out")], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        network = build_model(plan.model, shape, 10, plan.arguments)
        load_weights(network, folder / "out/purified.safetensors", "purified")
        said = re.sub(rf"{re.escape(name)}/", "", " ".join(map(str, words)))
    return classifier(plan, shape, network), f"peerlearn {said}"


if __name__ == "__main__":
    main()
