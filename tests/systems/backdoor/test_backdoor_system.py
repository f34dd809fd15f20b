"""The recipe `backdoor`: who learns what, what is measured, and what chooses nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blots import CLASSES, blots
from overriding import parsed
from tiny import weights

from peerlearn.data.datasets import Split
from peerlearn.data.npz import write_npz
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError
from peerlearn.systems.backdoor.attacks.poisoning import poison
from peerlearn.systems.backdoor.attacks.preparing import data_to_poison
from peerlearn.systems.backdoor.attacks.saved import poisoned_arrays
from peerlearn.systems.backdoor.attacks.surrogate import trained_surrogate
from peerlearn.systems.backdoor.metrics import der, rir, with_triggered
from peerlearn.systems.backdoor.task import BackdoorTask
from peerlearn.systems.registry import find_recipe
from peerlearn.tasks.contract import trainer_of

SMALL = [
    *(f"peers.{name}={{model: cnn, arguments: {{width: 0.25}}}}" for name in ("victim", "student")),
    "peers.teacher={model: cnn, arguments: {width: 0.25}}",
    "stages.standard.epochs=1",
    "stages.non_target.epochs=1",
    "epochs=1",
    "precision=fp32",
    "threads=1",
]
ALONE = ["peers.teacher=null", "transfer=none"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blots(tmp_path_factory.mktemp("blots") / "blots.npz", rows=400)


def task(data: Path, *overrides: str, base: Sequence[str] = SMALL) -> BackdoorTask:
    recipe, given = find_recipe("backdoor")
    config = recipe.resolve(given, parsed(*base, f"data.name={data}", *overrides))
    made = recipe.task.load(config)
    assert isinstance(made, BackdoorTask)
    return made


def trained(data: Path, *overrides: str, base: Sequence[str] = SMALL) -> tuple[Trainer, Any]:
    trainer = trainer_of(task(data, *overrides, base=base))
    return trainer, trainer.run().block


# What is measured ---------------------------------------------------------------------------------


def test_effectiveness_is_a_half_for_no_change_and_falls_with_lost_accuracy() -> None:
    before = {"acc": 0.9, "asr": 1.0, "ra": 0.0}
    assert der(before, before) == rir(before, before) == 0.5
    perfect = {"acc": 0.9, "asr": 0.0, "ra": 1.0}
    assert der(before, perfect) == rir(before, perfect) == 1
    costly = perfect | {"acc": 0.7}
    assert der(before, costly) == pytest.approx(0.9) and rir(before, costly) == pytest.approx(0.9)
    better = perfect | {"acc": 0.95}
    assert der(before, better) == 1, "a gain in accuracy is no removal"


def test_rates_count_triggered_rows_that_are_taken_for_the_aim_and_for_their_class() -> None:
    y, aims = torch.tensor([1, 1, 2, 2]), torch.zeros(4, dtype=torch.int64)
    said = {"victim": [0, 0, 0, 2], "student": [0, 1, 2, 1]}
    logits = {who: 9.0 * torch.eye(3)[each] for who, each in said.items()}
    block = {
        "peers": {who: {"accuracy": 0.5 + 0.25 * (who == "victim")} for who in said},
        "ensemble": {"accuracy": 0.5},
    }
    found = with_triggered(block, [(logits, y)], aims, "victim", ["student"])
    victim, student = found["peers"]["victim"], found["peers"]["student"]
    assert (victim["acc"], victim["asr"], victim["ra"]) == (0.75, 0.75, 0.25)
    assert (student["acc"], student["asr"], student["ra"]) == (0.5, 0.25, 0.5)
    assert victim["der"] == 0.5 and student["der"] == (0.5 - 0.25 + 1) / 2
    assert found["mean_peer"]["asr"] == found["ensemble"]["asr"] == 0.25, "of the student alone"


# Data ---------------------------------------------------------------------------------------------


def test_clean_rows_are_held_out_before_the_attack_and_a_part_of_them_chooses(rows: Path) -> None:
    data = task(rows, "data.clean=0.1", "data.held_out=0.25").data
    assert (len(data.train), len(data.clean), len(data.val)) == (360, 30, 10)
    assert int(data.poisoned.sum()) == 36
    seen = {tuple(x.flatten().tolist()) for part in (data.clean, data.val) for x in part.x}
    assert len(seen) == 40
    assert not seen & {tuple(x.flatten().tolist()) for x in data.train.x}
    corner = data.clean.x[..., -3:, -3:]
    assert not (corner == 255).flatten(1).all(1).any(), "no clean row has the trigger"
    assert (data.train.x[data.poisoned][..., -3:, -3:] == 255).all()
    assert (data.train.y[data.poisoned] == 0).all()


def test_triggered_rows_are_test_rows_that_are_not_of_the_aimed_class(rows: Path) -> None:
    data = task(rows, "data.attack.target=2").data
    assert (data.triggered.y != 2).all() and (data.aims == 2).all()
    assert len(data.triggered) == int((data.test.y != 2).sum())
    assert (data.test.y[data.sources] == data.triggered.y).all()
    around = task(rows, "data.attack.to=all").data
    assert len(around.triggered) == len(around.test)
    assert (around.aims == (around.triggered.y + 1) % CLASSES).all()


def test_a_file_that_was_poisoned_before_is_taken_as_it_is(rows: Path, tmp_path: Path) -> None:
    made = task(rows, "data.clean=0.1")
    before = data_to_poison(made.config.data, 0.1)
    found = poison(before, made.config.data.attack, 0, lambda *_: torch.nn.Identity())
    write_npz(tmp_path / "poisoned.npz", poisoned_arrays(found, made.config.data.attack))
    again = task(tmp_path / "poisoned.npz", "data.attack=null")
    for part in ("train", "clean", "val", "test", "triggered"):
        one, other = getattr(made.data, part), getattr(again.data, part)
        assert torch.equal(one.x, other.x) and torch.equal(one.y, other.y), part
    assert torch.equal(made.data.aims, again.data.aims)
    with pytest.raises(InputError, match=r"data\.attack: .* poisoned by attack 'badnets' already"):
        task(tmp_path / "poisoned.npz")


def test_what_took_a_network_to_make_is_kept(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = "peerlearn.systems.backdoor.attacks.kept.FOLDER"
    monkeypatch.setattr(folder, str(tmp_path / "kept"))
    words = ["data.attack={kind: lf, epochs: 1}", "seed=3"]
    first = task(rows, *words)
    (file,) = (tmp_path / "kept").glob("lf-*.npz")
    assert any("made here, and kept as" in line for line in first.account.lines())
    again = task(rows, *words)
    assert any("made before" in line for line in again.account.lines())
    assert torch.equal(first.data.train.x, again.data.train.x)
    assert torch.equal(first.data.triggered.x, again.data.triggered.x)
    task(rows, *words[:1], "seed=4")
    assert len(list((tmp_path / "kept").glob("lf-*.npz"))) == 2, "another seed, another trigger"
    task(rows, *words, f"data.classes={CLASSES + 1}")
    assert len(list((tmp_path / "kept").glob("lf-*.npz"))) == 3, "other classes, other aims"
    with monkeypatch.context() as patched:
        patched.setattr("peerlearn.systems.backdoor.attacks.kept.FORMAT", -1)
        task(rows, *words)
    assert len(list((tmp_path / "kept").glob("lf-*.npz"))) == 4, "other code, other rows"
    (tmp_path / "readonly").write_text("")
    monkeypatch.setattr(
        "peerlearn.systems.backdoor.attacks.kept.FOLDER", str(tmp_path / "readonly")
    )
    there = task(rows, *words)
    assert any("cannot be written" in line for line in there.account.lines())
    assert torch.equal(first.data.train.x, there.data.train.x)
    assert file.exists()


def test_networks_of_an_attacker_train_where_the_run_does(
    rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On which device and with how many threads is no part of what data are."""
    asked: list[tuple[Any, Any]] = []

    def observed(*given: Any, device: str, threads: int | None, field: str) -> Any:
        asked.append((device, threads))
        return trained_surrogate(*given, device=device, threads=threads, field=field)

    monkeypatch.setattr("peerlearn.systems.backdoor.data.trained_surrogate", observed)
    found = [task(rows, "device=cpu", f"threads={count}") for count in (1, 2)]
    assert asked == [("cpu", 1), ("cpu", 2)]
    one, other = (BackdoorTask.decides_data(each.config) for each in found)
    assert one == other


def test_rows_of_validation_are_the_clean_ones_where_there_are_any(rows: Path) -> None:
    found = task(Path("digits"), "data.clean=0.05").data
    assert len(found.clean) + len(found.val) == round(0.05 * len(found.train))
    assert any("of val; the others are left out" in line for line in found.account.lines())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.clean=3"], r"data\.clean: 3 clean rows for 5 classes"),
        (["data.clean=500"], r"data\.clean: 500 would hold out 500.*400 labelled rows.*up to 395"),
        (["data.held_out=300"], r"data\.held_out: 300 would hold out"),
        (["data.attack.target=7"], r"data\.attack\.target: found 7; .* classes 0 to 4"),
        (["data.attack=badnet"], r"data\.attack\.kind: found 'badnet'.*'badnets'"),
        (["data.attack.sizes=2"], r"sizes: unknown key.*'size'"),
        (["data.attack.ratio=0"], r"ratio"),
        (["defence=nt"], r"defence\.method: found 'nt'.*Allowed: none, scratch"),
        (["defence.start=victims"], r"start: found 'victims'"),
        (["peers.teacher=null", "transfer=none"], r"peers: defence 'nt-ml' needs .*'teacher'"),
        (["peers.other=cnn"], r"peers: 'other' has no part; allowed: victim, teacher"),
        (["peers.teacher=mlp"], r"peers\.teacher\.model: begins with the weights of victim"),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(rows: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        task(rows, *words)


def test_vectors_have_no_trigger(tmp_path: Path) -> None:
    x, y = torch.randn(60, 5).numpy(), (torch.arange(60) % 3).numpy()
    np.savez(tmp_path / "rows.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(InputError, match=r"data\.attack: changes images .*rows of shape \(5,\)"):
        task(tmp_path / "rows.npz")


# Who learns what ----------------------------------------------------------------------------------


def stages(data: Path, *overrides: str) -> list[tuple[str, Any]]:
    trainer = trainer_of(task(data, *overrides))
    return [(stage.name, stage.learners) for stage in trainer.stages]


def test_every_defence_has_its_stages(rows: Path) -> None:
    standard = ("standard", ["victim"])
    mutual = ("mutual", ["teacher", "student"])
    assert stages(rows) == [standard, ("copies", ()), ("non_target", ["student"]), mutual]
    scout = ["peers.scout={model: cnn, arguments: {width: 0.25}}"]
    assert ("scout", ["scout"]) in stages(rows, *scout)
    assert stages(rows, "defence=none", *ALONE) == [standard, ("copies", ["student"])]
    tuned = ("mutual", ["student"])
    assert stages(rows, "defence=scratch", *ALONE) == [standard, tuned]
    assert stages(rows, "defence=ft", *ALONE) == [standard, ("copies", ()), tuned]
    assert stages(rows, "defence=fst", *ALONE)[-1] == ("fst", ["student"])
    assert stages(rows, "defence=fp", *ALONE)[-2:] == [("fp", ()), tuned]


def test_the_victim_is_left_alone_and_nothing_is_learned_from_labels(rows: Path) -> None:
    made = trainer_of(task(rows))
    seen: dict[str, dict[str, Any]] = {}

    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            seen[event["stage"]] = weights(made)

    made.observe = observe
    made.run()
    victim = {name for name in seen["standard"] if name.startswith("victim")}
    for stage in ("non_target", "mutual"):
        assert all(seen[stage][name] == seen["standard"][name] for name in victim)
    stage = [e for e in made.progress.history if e["stage"] == "non_target"][-1]
    assert stage["train"]["student"]["objective"] == 0


def test_copies_begin_as_the_victim_and_a_student_only_where_it_is_asked(rows: Path) -> None:
    none, block = trained(rows, "defence=none", *ALONE)
    found = weights(none)
    for name, values in found.items():
        if name.startswith("victim"):
            assert found[name.replace("victim", "student", 1)] == values
    assert block["peers"]["victim"] == block["peers"]["student"]
    assert block["mean_peer"]["der"] == 0.5
    fresh, _ = trained(rows, "stages.non_target.epochs=0")
    old, _ = trained(rows, "stages.non_target.epochs=0", "defence.start=victim")
    assert weights(fresh) != weights(old)


def test_no_triggered_row_and_no_test_label_chooses_anything(rows: Path) -> None:
    for words in ([], ["defence=fst", *ALONE], ["defence=fp", *ALONE]):
        whole, other = task(rows, *words), task(rows, *words)
        test = other.data.test
        other.data = replace(
            other.data,
            test=Split(255 - test.x, (test.y + 1) % CLASSES),
            triggered=Split(255 - other.data.triggered.x, other.data.triggered.y),
        )
        other.rows = other.row_sets()
        first, second = trainer_of(whole), trainer_of(other)
        a, b = first.run().block, second.run().block
        assert weights(first) == weights(second), words
        assert a["peers"] != b["peers"], "the report is of other rows"


def test_clean_rows_alone_are_enough_where_training_rows_are_not_at_hand(rows: Path) -> None:
    of_train, _ = trained(rows)
    of_clean, _ = trained(rows, "stages.non_target.rows=clean")
    assert weights(of_train) != weights(of_clean)
    steps = {e["stage"]: e for e in of_clean.progress.history}
    assert steps["non_target"]["seconds"] >= 0


def test_stages_and_the_last_stage_have_batches_and_changes_of_their_own(rows: Path) -> None:
    plain = task(rows)
    assert len(plain._non_target_loader()) == len(
        plain._poisoned_loader(plain.config.stages.standard)
    )
    small = task(rows, "stages.non_target.batch_size=16")
    assert len(small._non_target_loader()) == 2 * len(plain._non_target_loader())
    first, _ = trained(rows)
    strong, _ = trained(rows, "clean_augment={blend: 0.4, noise: 0.1}")
    assert weights(first) != weights(strong)


# End to end ---------------------------------------------------------------------------------------


def test_badnets_implants_and_non_target_training_removes(tmp_path: Path) -> None:
    data = blots(tmp_path / "blots.npz")
    long = [*SMALL, "stages.standard.epochs=6", "stages.non_target.epochs=6", "epochs=6"]
    _, block = trained(data, base=long)
    victim, student = block["peers"]["victim"], block["peers"]["student"]
    assert victim["asr"] >= 0.95 and victim["acc"] >= 0.95
    assert student["asr"] <= 0.1 and student["acc"] >= victim["acc"] - 0.05
    assert student["asr"] + student["ra"] <= 1
    assert block["mean_peer"] == {k: v for k, v in student.items() if k in block["mean_peer"]}
