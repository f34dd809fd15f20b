"""`peerlearn attack`: clean images become a file that is marked as poisoned, and trains."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from tiny_commands import TINY, small_arrays

from peerlearn.cli import attack
from peerlearn.systems.backdoor import attacks
from peerlearn.systems.backdoor.attacks.saved import read_poisoned

PAGE = Path(attacks.__file__).parent / "README.md"


def words(said) -> str:
    """What was printed, in one line."""
    return " ".join(said.out.split())


@pytest.fixture
def mine(tmp_path):
    """Writes a file of grey images, without the parts that are named."""

    def save(*without, **changes) -> Path:
        arrays = {k: v for k, v in small_arrays().items() if k[2:] not in without} | changes
        np.savez(tmp_path / "mine.npz", **arrays)
        return tmp_path / "mine.npz"

    return save


def test_a_file_is_written_that_says_what_was_done(cli):
    said = cli("attack", "digits", "--kind", "badnets", "target=3", "size=2", "--out", "p.npz")
    assert said.status == 0, said.err
    found = read_poisoned(Path("p.npz"))
    assert found.attack.model_dump() == {
        "kind": "badnets", "target": 3, "ratio": 0.1, "to": "one", "size": 2, "pattern": "white",
    }  # fmt: skip
    assert "badnets poisoned 126 of 1,257 training rows: become class '3', of which" in words(said)
    assert "pixels change by at most 255 of 255, mean square" in words(said)
    assert "test images with the trigger: 323 of 360" in words(said)
    assert "clean rows: 63 of 180 of val; the others are left out" in words(said)
    assert "p.npz: marked as poisoned by attack 'badnets'" in words(said)
    assert len(found.poisoned.data.val) == 63
    assert int(found.poisoned.poisoned.sum()) == 126


def test_the_size_of_the_change_is_that_of_the_pixels(cli, mine):
    arrays = small_arrays()
    said = cli("attack", mine(), "--kind", "sig", "amplitude=10", "--out", "p.npz")
    found = read_poisoned(Path("p.npz")).poisoned
    rows = found.poisoned.numpy()
    before = arrays["x_train"].astype(float)
    change = (found.data.train.x[:, 0].numpy() - before)[rows]
    square = f"{np.square(change).mean():.4g}"
    told = f"by at most {abs(change).max():g} of 255, mean square {square}"
    assert f"poisoned images: pixels change {told}" in words(said)
    assert "all of class '0', which keep their label" in words(said)


def test_decoys_are_told(cli, mine):
    said = cli("attack", mine(), "--kind", "wanet", "to=all", "--out", "p.npz")
    assert "wanet poisoned 6 of 60 training rows: every class becomes the next one" in words(said)
    assert "decoys: 12 further training rows with a changed image and their own" in words(said)


def test_clean_rows_are_held_out_before_anything_is_poisoned(cli, mine):
    arrays = small_arrays()
    said = cli("attack", mine("val"), "--kind", "blended", "--clean", "0.2", "--out", "p.npz")
    data = read_poisoned(Path("p.npz")).poisoned.data
    assert "clean rows: 12 of train are held out" in words(said)
    assert (len(data.train), len(data.val)) == (48, 12)
    clean = {row.tobytes() for row in data.val.x.numpy()}
    assert clean <= {row.tobytes() for row in arrays["x_train"]}
    assert np.bincount(data.val.y).tolist() == [4, 4, 4]
    assert np.array_equal(data.test.x[:, 0].numpy(), arrays["x_test"])


def test_clean_rows_may_be_counted(cli, mine):
    for without, told in (
        (["val"], "clean rows: 6 of train are held out"),
        ([], "clean rows: 6 of 60 of val; the others are left out"),
    ):
        said = cli("attack", mine(*without), "--kind", "badnets", "--clean", "6", "--out", "p.npz")
        assert told in words(said)
        assert len(read_poisoned(Path("p.npz")).poisoned.data.val) == 6


def test_folders_without_test_rows_have_some_held_out(cli):
    from PIL import Image

    folder = Path("images/train")
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            shade = np.full((8, 8), 5 * number + 100 * (name == "dog"), np.uint8)
            Image.fromarray(shade).save(folder / name / f"{number}.png")
    said = cli("attack", "images", "--kind", "badnets", "ratio=0.2", "--out", "p.npz")
    assert said.status == 0, said.err
    assert "no test: 4 of train are held out for it" in words(said)
    assert "become class 'cat'" in words(said)
    assert read_poisoned(Path("p.npz")).poisoned.data.class_names == ("cat", "dog")


def test_seeds_and_the_choice_of_data_count(cli, mine):
    made = []
    for more in ([], ["--seed", "1"], ["data.train_size=30", "--clean", "3"], []):
        assert cli("attack", mine(), "--kind", "wanet", "--out", "p.npz", *more).status == 0
        made.append(dict(np.load("p.npz")))
    first, seeded, fewer, again = made
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["poisoned"], seeded["poisoned"])
    assert len(fewer["x_train"]) == 30 and fewer["poisoned"].sum() == 3


def test_another_recipe_trains_on_the_file_and_tells_that_it_is_poisoned(cli, mine):
    cli("attack", mine(), "--kind", "badnets", "--out", "p.npz")
    tiny = [word for word in TINY if "train_size" not in word]
    said = cli("run", "dml", *tiny, "--data", "p.npz", "--out", "run")
    assert said.status == 0, said.err
    assert "marked as poisoned by attack 'badnets'" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--kind", "badnet"], "--kind: found 'badnet'. Did you mean 'badnets'? Allowed: badnets,"),
        (["--kind", "badnets", "siz=2"], "siz: unknown key. Did you mean 'size'?"),
        (["--kind", "badnets", "kind=sig"], "kind: say it with --kind"),
        (["--kind", "badnets", "size=0"], "size: input should be greater than or equal to 1"),
        (["--kind", "badnets", "size=9"], "size: found 9; allowed: up to 8"),
        (["--kind", "badnets", "target=3"], "target: found 3; data 'mine' has classes 0 to 2"),
        (["--kind", "badnets", "ratio=0"], "ratio: input should be greater than 0"),
        (["--kind", "badnets", "size"], "'size': expected KEY=VALUE"),
        (["--kind", "sig", "to=all"], "to: 'all' with 'sig', which changes no label"),
        (["--kind", "badnets", "--clean", "0"], "--clean: found 0; allowed: a fraction below 1"),
        (["--kind", "badnets", "--clean", "1.5"], "--clean: 1.5 is neither a fraction below 1 nor"),
        (["--kind", "badnets", "--clean", "61"], "--clean: 61 asks for 61 clean rows; allowed: up"),
        (["--kind", "badnets", "--seed", "-1"], "--seed"),
        (["--kind", "badnets", "data.val_size=3"], "data.val_size: say it with --clean"),
        (["--kind", "badnets", "data.siz=3"], "unknown key 'data.siz'. Did you mean 'data.size'?"),
        (["--kind", "badnets", "data.train_size=0"], "data.train_size: input should be greater"),
        ([], "--kind"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(cli, mine, more, expected):
    said = cli("attack", mine(), *more, "--out", "p.npz")
    assert said.status == 2
    assert expected in said.err and "Traceback" not in said.err
    assert not Path("p.npz").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {f"x_{p}": np.zeros((60, 4), "f4") for p in ("train", "val", "test")},
            "shape (4,), float",
        ),
        ({f"x_{p}": np.zeros((60, 8, 8), "f4") for p in ("train", "val", "test")}, "float32"),
        ({f"y_{p}": np.eye(3)[[0] * 60] for p in ("train", "val", "test")}, "several labels"),
    ],
)
def test_only_images_of_whole_numbers_with_one_class_each_are_poisoned(
    cli, mine, changes, expected
):
    said = cli("attack", mine(**changes), "--kind", "badnets", "--out", "p.npz")
    assert said.status == 2
    assert "peerlearn: attack: " in said.err and expected in said.err
    assert not Path("p.npz").exists()


def test_help_names_every_attack():
    assert tuple(attacks.ATTACKS) == attack.KINDS


def test_the_page_runs_as_it_is(cli):
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for command in block.strip().splitlines():
        program, *arguments = shlex.split(command)
        assert program == "peerlearn"
        assert cli(*arguments).status == 0, command


def test_surrogates_are_trained_and_watched(cli, mine):
    words = ("attack", mine(), "--kind", "lf", "epochs=2", "steps=2", "--surrogate", "mlp")
    said = cli(*words, "--out", "p.npz")
    assert said.status == 0, said.err
    assert "epoch 1/2" in said.err and "epoch 2/2" in said.err
    assert read_poisoned(Path("p.npz")).attack.epochs == 2
    said = cli(*words[:-1], "cnnn", "--out", "q.npz")
    assert said.status == 2 and "--surrogate: unknown model 'cnnn'. Did you mean" in said.err
    assert not Path("q.npz").exists()


def test_unknown_data_are_refused(cli):
    said = cli("attack", "digist", "--kind", "badnets", "--out", "p.npz")
    assert said.status == 2
    assert "unknown data set or path 'digist'. Did you mean 'digits'?" in said.err


def test_the_clean_file_is_never_replaced_and_names_say_what_is_in_a_file(cli, mine):
    path = mine()
    before = path.read_bytes()
    said = cli("attack", path, "--kind", "badnets", "--out", path)
    assert said.status == 2 and "is the file of the clean data" in said.err
    assert path.read_bytes() == before
    said = cli("attack", path, "--kind", "badnets", "--out", "poisoned")
    assert said.status == 2 and "ends in .npz" in said.err
