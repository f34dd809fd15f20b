"""`peerlearn purify`: from weights and few clean images to purified weights and evidence."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_cli_bad_input import refused
from tiny_commands import Said
from tiny_purify import QUICK, QUICK_NON_TARGET, Origin, fresh, loaded, origin
from torch import nn

Purify = Callable[..., Said]


@pytest.fixture(scope="module")
def suspect(tmp_path_factory) -> Origin:
    """A network with a backdoor to class 0."""
    return origin(tmp_path_factory.mktemp("suspect"), poisoned=True)


@pytest.fixture(scope="module")
def innocent(tmp_path_factory) -> Origin:
    """One without."""
    return origin(tmp_path_factory.mktemp("innocent"), poisoned=False)


@pytest.fixture
def purify(cli, tmp_path, suspect) -> Purify:
    """`purify("--method", "ft", ...)` of the suspect, in a folder with its files."""
    for path in (suspect.weights, suspect.train, suspect.clean):
        shutil.copy(path, tmp_path / path.name)

    def call(*words, model="weights.safetensors", clean="clean.npz", network="cnn", out="out"):
        where = ["--clean", clean, "--network", network, "--out", out]
        return cli("purify", model, *where, *words)

    return call


FT = ["--method", "ft", *QUICK]
WITH_TRAIN = ["--train", "train.npz", *QUICK_NON_TARGET]


def printed(said: Said) -> str:
    """What was printed, in one line."""
    return " ".join(said.out.split())


def evidence(folder: str = "out") -> dict:
    return json.loads(Path(folder, "purified.json").read_text())


def forms(path: str | Path) -> dict[str, tuple]:
    return {name: (each.shape, each.dtype) for name, each in load_file(path).items()}


def test_non_target_training_on_the_poisoned_rows_removes_the_backdoor(purify, suspect):
    said = purify(*WITH_TRAIN)
    assert said.status == 0, said.err
    before, after = (
        suspect.rates(loaded(suspect.weights)),
        suspect.rates(loaded("out/purified.safetensors")),
    )
    assert before[1] >= 0.9 and after[1] <= 0.1, "attack success"
    assert after[0] >= before[0] - 0.05
    assert forms("out/purified.safetensors") == forms(suspect.weights)
    found = evidence()
    assert found["method"] == "nt-ml" and found["train"] == {"from": "train.npz", "rows": 960}
    assert found["clean_rows"]["learned_from"]["rows"] == 192
    assert found["clean_rows"]["held_out"]["rows"] == found["predictions"]["rows"] == 48
    assert found["normalisation"]["of"] == "train"
    assert found["suspicion"]["before"]["suspect"] == "0"
    assert found["suspicion"]["after"]["suspect"] is None
    assert "before: suspicious of class '0'" in printed(said)
    assert "after: nothing stands out" in printed(said)
    assert "It cannot be relied on for triggers that" in printed(said)
    assert "predictions changed: " in printed(said)
    assert "those of the training rows" in " ".join(said.err.split())
    assert Path("out/results.json").exists(), "an ordinary run folder"


def test_the_evidence_is_of_the_purified_file(purify, suspect):
    assert purify(*FT).status == 0
    found, clean = evidence(), np.load("clean.npz")
    assert found["epochs"] == 6
    held = found["clean_rows"]["held_out"]
    assert sum(held["by_class"].values()) == held["rows"] == 48
    assert found["accuracy"]["before"]["all"] == pytest.approx(
        sum(
            share * held["by_class"][name]
            for name, share in found["accuracy"]["before"]["by_class"].items()
        )
        / 48
    )
    assert found["suspicion"]["before"]["rows"]["0"] <= (clean["y"] != 0).sum()
    assert 0 <= found["predictions"]["changed"] <= 48
    assert load_file("out/purified.safetensors").keys() == load_file(suspect.weights).keys()
    assert any(
        not torch.equal(each, load_file(suspect.weights)[name])
        for name, each in load_file("out/purified.safetensors").items()
    )


def test_without_training_rows_it_is_told_what_is_learned_from(purify):
    said = purify(*QUICK_NON_TARGET)
    assert said.status == 0, said.err
    told = " ".join(said.err.split())
    assert "no --train: non-target training is done on the clean rows" in told
    assert "those of the clean rows" in told
    assert "rows: clean" in Path("out/config.yaml").read_text()
    found = evidence()
    assert found["train"] is None and found["normalisation"]["of"] == "clean"


def test_a_network_without_a_backdoor_keeps_its_accuracy(cli, innocent):
    where = ["--clean", innocent.clean, "--train", innocent.train, "--network", "cnn"]
    said = cli("purify", innocent.weights, *where, *QUICK_NON_TARGET, "--out", "out")
    assert said.status == 0, said.err
    before, after = (
        innocent.rates(loaded(path))[0] for path in (innocent.weights, "out/purified.safetensors")
    )
    assert after >= before - 0.01
    assert "before: nothing stands out" in printed(said)


def test_other_names_formats_and_own_networks_come_back_as_they_were_given(
    purify, suspect, tmp_path
):
    (tmp_path / "own_nets.py").write_text(
        "from peerlearn.models import MODELS\n"
        "def net(width=1.0):\n"
        "    return MODELS.build('cnn', (3, 12, 12), 5, {'width': width})\n"
    )
    wrapped = nn.DataParallel(loaded(suspect.weights).half())
    torch.save({"state_dict": wrapped.state_dict(), "epoch": 3}, "given.pt")
    said = purify(*FT, model="given.pt", network="python:own_nets:net")
    assert said.status == 0, said.err
    given = nn.DataParallel(fresh().half())
    given.load_state_dict(load_file("out/purified.safetensors"), strict=True)
    expected = {name: (each.shape, each.dtype) for name, each in given.state_dict().items()}
    assert forms("out/purified.safetensors") == expected


@pytest.mark.parametrize(
    "words",
    [["--seed", "7"], ["--method", "scratch"], ["--mean", "0.5", "--std", "0.3"], ["lr=0.001"]],
    ids=str,
)
def test_every_option_changes_what_comes_out(purify, words):
    usual = FT if "--method" not in words else QUICK
    assert purify(*FT).status == 0
    said = purify(*usual, *words, out="other")
    assert said.status == 0, said.err
    assert Path("other/purified.safetensors").read_bytes() != (
        Path("out/purified.safetensors").read_bytes()
    )
    if "--mean" in words:
        own = evidence("other")["normalisation"]
        assert own == {"mean": [0.5] * 3, "std": [0.3] * 3, "of": "given"}
        assert "normalisation:" not in said.err


def test_methods_without_the_last_stage_tell_no_epochs_of_it_and_read_batch_size(purify):
    quick = [word for word in QUICK if word != "epochs=6"]
    words = ["--method", "fst", *quick, "defence.epochs=2"]
    assert purify(*words).status == 0
    found = evidence()
    assert "epochs" not in found and found["defence"]["epochs"] == 2
    assert purify(*words, "batch_size=20", out="other").status == 0
    first, other = (Path(out, "purified.safetensors").read_bytes() for out in ("out", "other"))
    assert first != other


def test_a_network_that_reads_other_pixels_is_warned_of(purify):
    assert "warning" not in purify(*FT).out
    said = purify(*FT, "--mean", "40", "--std", "0.01", out="other")
    assert "are --network, --mean and --std those of its training" in printed(said)


def test_the_attack_is_told_where_the_training_rows_say_what_it_is(cli, purify, suspect):
    attacked = str(suspect.train.parent / "blots.npz")
    assert cli("attack", attacked, "--kind", "badnets", "--out", "poisoned.npz").status == 0
    said = purify(*FT, "--train", "poisoned.npz")
    assert said.status == 0, said.err
    assert "attack success" in said.out
    assert evidence()["attack_success"]["before"] > 0.9


# Interrupted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["non_target", "mutual"])
def test_an_interrupted_purification_goes_on_to_the_same_bytes(purify, monkeypatch, stage):
    from peerlearn.engine.trainer import Trainer

    assert purify(*WITH_TRAIN, out="whole").status == 0
    run_epoch = Trainer._run_epoch

    def interrupted(trainer, running, *rest):
        if running.stage.name == stage and trainer.progress.epoch == 2:
            signal.raise_signal(signal.SIGINT)
        return run_epoch(trainer, running, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_run_epoch", interrupted)
        said = purify(*WITH_TRAIN)
    assert said.status == 130
    assert "; continue with: peerlearn purify weights.safetensors" in said.err
    assert not Path("out/purified.safetensors").exists()
    said = purify(*WITH_TRAIN, "--resume")
    assert said.status == 0, said.err
    for name in ("purified.safetensors", "purified.json"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    again = purify(*WITH_TRAIN, "--resume")
    assert again.status == 0 and "nothing is trained" in again.out


def test_what_changed_since_is_not_continued(purify):
    assert purify(*FT).status == 0
    before = Path("out/purified.json").read_bytes()
    refused(purify(*FT), "already holds a run")
    refused(purify(*FT, "--seed", "3", "--resume"), "cannot resume with a changed configuration")
    other = load_file("weights.safetensors")
    save_file({name: each + 1 for name, each in other.items()}, "weights.safetensors")
    Path("out/results.json").unlink()
    said = purify(*FT, "--resume")
    assert said.status == 2 and "the data changed since it began" in said.err
    assert Path("out/purified.json").read_bytes() == before


# What cannot be -----------------------------------------------------------------------------------


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __reduce__(self):
        return (open, ("canary", "w"))


def other_files() -> None:
    """Files that do not fit."""
    clean = np.load("clean.npz")
    x, y = clean["x"], clean["y"]
    np.savez("few.npz", x=x[:4], y=y[:4])
    np.savez("one.npz", x=x, y=0 * y)
    np.savez("small.npz", x=x[:, 1:], y=y)
    np.savez("vectors.npz", x=x.reshape(len(x), -1), y=y)
    firsts = [int((y == each).argmax()) for each in range(5)]
    np.savez("five.npz", x=x[firsts], y=y[firsts])
    attack = np.array('{"kind": "badnets"}')
    np.savez("poisoned.npz", x_train=x, y_train=y, attack=attack, poisoned=y == 0)
    np.savez("six.npz", x=x, y=np.arange(len(y)) % 6)
    np.savez("four.npz", x=x[y < 4], y=y[y < 4])
    torch.save({"state_dict": Payload()}, "pickled.pt")
    Path("text.safetensors").write_text("no weights")


@pytest.mark.parametrize(
    ("words", "options", "expected"),
    [
        ([], {"model": "weight.safetensors"}, "MODEL: weight.safetensors: no such file. Did you"),
        ([], {"model": "pickled.pt"}, "MODEL: pickled.pt: no weights can be read from it"),
        ([], {"model": "text.safetensors"}, "MODEL: text.safetensors: no weights can be read"),
        ([], {"network": "cnnn"}, "--network: unknown model 'cnnn'. Did you mean 'cnn'?"),
        ([], {"network": "resnet8"}, "MODEL: weights.safetensors: does not fit the network"),
        ([], {"network": "python:nowhere:net"}, "--network: 'python:nowhere:net': no module"),
        (["data.classes=5"], {"clean": "few.npz"}, "--clean: few.npz: 4 clean rows for 5 classes"),
        ([], {"clean": "five.npz"}, "--clean: five.npz: 5 clean rows for 5 classes; allowed: 7"),
        ([], {"clean": "vectors.npz"}, "--clean: vectors.npz: rows of shape (432,); images (chan"),
        (["--train", "vectors.npz"], {"clean": "vectors.npz"}, "--clean: vectors.npz: rows of"),
        (["--train", "train.npz"], {"clean": "poisoned.npz"}, "--clean: poisoned.npz: is marked"),
        (["--method", "fst", "epochs=3"], {}, "epochs: does nothing by method 'fst'"),
        (["--method", "anp", "lr=0.1"], {}, "defence.iterations, defence.lr, defence.tolerance"),
        (["--method", "nad", "lr_schedule=constant"], {}, "lr_schedule: does nothing by"),
        (["--method", "rnp", "optimiser.momentum=0"], {}, "optimiser.momentum: does nothing by"),
        (["--method", "ibau", "peers.student.lr=1"], {}, "peers.student.lr: does nothing by"),
        ([], {"clean": "one.npz"}, "one.npz: y_train: only class 0 occurs"),
        ([], {"clean": "clena.npz"}, "--clean: clena.npz: no such file or folder. Did you mean"),
        ([], {"clean": "four.npz"}, "looks like a network for 5 classes, and here there are 4"),
        ([], {"clean": "four.npz"}, "data.classes=N says how many there are"),
        (["--train", "train.npz"], {"clean": "six.npz"}, "--clean: six.npz: classes 5 are not"),
        (["--train", "train.npz"], {"clean": "small.npz"}, "--clean: small.npz: rows of shape"),
        (["--train", "tran.npz"], {}, "--train: tran.npz: no such file or folder. Did you mean"),
        (["--method", "nt"], {}, "--method: unknown method 'nt'"),
        (["--method", "none"], {}, "--method: unknown method 'none'"),
        (["--mean", "0.5"], {}, "--std: missing; --mean and --std go together"),
        (["--mean", "a", "--std", "1"], {}, "--mean: 'a'; expected a number"),
        (["--mean", "1,2", "--std", "1"], {}, "--mean: 2 numbers for rows of shape (3, 12, 12)"),
        (["--mean", "0", "--std", "0"], {}, "--std: found 0; allowed: numbers above 0"),
        (["data.clean_from=x"], {}, "data.clean_from: say it with --clean"),
        (["data.attack=badnets"], {}, "data.attack: is settled by what is purified"),
        (["stages.standard.epochs=3"], {}, "stages.standard.epochs: is settled"),
        (["peers.student.model=mlp"], {}, "peers.student.model: say it with MODEL, --network"),
        (["defence=ft"], {}, "defence: is settled"),
        (["arguments.widht=2"], {}, "--network: ", ),
        (["epcohs=3"], {}, "epcohs: unknown key. Did you mean 'epochs'?"),
        (["--resume"], {}, "--resume: out does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_and_nothing_is_written(purify, words, options, expected):
    other_files()
    usual = [] if any("arguments" in word for word in words) else ["arguments.width=0.25"]
    usual = usual if options.get("network", "cnn") == "cnn" else []
    refused(purify(*usual, *words, **options), expected)
    assert not Path("out").exists() and not Path("canary").exists()


def test_help_does_not_import_torch():
    code = (
        "import sys; from peerlearn.cli import app\n"
        "try: app(['purify', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--clean" in said.stdout
