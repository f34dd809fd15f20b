"""`peerlearn.fit` on data at hand."""

import html
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import peerlearn
from peerlearn.cli import app
from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.randomness import seeded_rng
from peerlearn.serving import evaluate_run


def arrays(rows: int = 80) -> dict[str, torch.Tensor]:
    """Two classes that a linear network tells apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 6, generator=generator)
    y = (x[:, 0] > 0).long()
    half = rows // 2
    return {"x_train": x[:half], "y_train": y[:half], "x_test": x[half:], "y_test": y[half:]}


def cohort(transfer: object = "predictions: kl") -> peerlearn.Cohort:
    with seeded_rng(0, "test"):
        return peerlearn.Cohort({n: nn.Linear(6, 2) for n in ("a", "b")}, transfer=transfer)


QUICK = {"lr": 0.5, "batch_size": 16, "precision": "fp32"}


def test_fit_learns_from_tensors_and_from_arrays_alike() -> None:
    from_tensors = peerlearn.fit(cohort(), arrays(), epochs=10, **QUICK)
    from_arrays = peerlearn.fit(
        cohort(), {k: np.asarray(v) for k, v in arrays().items()}, epochs=10, **QUICK
    )
    assert from_tensors.block["mean_peer"]["accuracy"] > 0.85
    assert from_tensors.block["mean_peer"] == from_arrays.block["mean_peer"]
    assert len(from_tensors.history) == 10


def test_fit_leaves_the_selected_weights_in_the_peers() -> None:
    trained = cohort()
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    result = peerlearn.fit(trained, arrays(), epochs=2, **QUICK)
    assert any(not torch.equal(v, before[k]) for k, v in trained.state_dict().items())
    assert set(result.selected) == {"a", "b"}


def test_fit_takes_peers_own_settings_and_augmentation() -> None:
    def accuracy(**more: object) -> dict:
        with seeded_rng(0, "nets"):
            nets = {n: build_model("cnn", (1, 8, 8), 10, {"width": 0.25}) for n in ("a", "b")}
        options = QUICK | {"epochs": 1, "evaluation": {"select": "last"}} | more
        return peerlearn.fit(peerlearn.Cohort(nets), "digits", **options).block["peers"]

    base = accuracy()
    own = accuracy(peers={"b": {"lr": 0.01}})
    assert own["b"] != base["b"]
    assert accuracy(augment={"crop": 2}) != base
    assert accuracy(peers={"b": {"view": 1}}, augment={"crop": 2}) != accuracy(augment={"crop": 2})


def test_fit_resumes_in_its_folder_and_refuses_another_configuration_or_other_data(
    tmp_path: Path,
) -> None:
    whole = peerlearn.fit(cohort(), arrays(), epochs=4, **QUICK)

    def stop(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 2:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        peerlearn.fit(cohort(), arrays(), epochs=4, folder=run, observe=stop, **QUICK)
    with pytest.raises(InputError, match="already holds a run"):
        peerlearn.fit(cohort(), arrays(), epochs=4, folder=run, **QUICK)
    with pytest.raises(InputError, match=r"lr: was 0.5, now 0.4"):
        slower = QUICK | {"lr": 0.4}
        peerlearn.fit(cohort(), arrays(), epochs=4, folder=run, resume=True, **slower)
    other = arrays()
    other["x_train"] = other["x_train"] + 1
    with pytest.raises(InputError, match="data changed since it began:\n  x of train differs"):
        peerlearn.fit(cohort(), other, epochs=4, folder=run, resume=True, **QUICK)
    resumed = peerlearn.fit(cohort(), arrays(), epochs=4, folder=run, resume=True, **QUICK)
    assert resumed.block["peers"] == whole.block["peers"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epoch": 3}, "epoch: unknown key. Did you mean 'epochs'"),
        ({"out": "runs/a"}, "out: unknown key. Did you mean 'folder'"),
        ({"optimiser": "sdg"}, "unknown optimiser 'sdg'. Did you mean 'sgd'"),
        ({"peers": {"c": {}}}, "'c'"),
        ({"augment": {"crops": 2}}, r"augment\.crops: unknown key. Did you mean 'crop'"),
        ({"evaluation": {"select": "first"}}, r"evaluation\.select: found 'first'"),
        ({"evaluation": {"report": "val+test"}}, "chose the weights"),
    ],
)
def test_fit_says_what_is_wrong_before_it_trains(wrong: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        peerlearn.fit(cohort(), arrays(), **wrong)


def test_fit_refuses_data_it_cannot_read() -> None:
    with pytest.raises(InputError, match="data: found int"):
        peerlearn.fit(cohort(), 3)
    with pytest.raises(InputError, match="x_test"):
        peerlearn.fit(cohort(), {k: v for k, v in arrays().items() if k != "x_test"})
    with pytest.raises(
        InputError, match=r"several labels a row.*form='softmax'; give it 'sigmoid'"
    ):
        peerlearn.fit(cohort(), (torch.randn(20, 6), torch.ones(20, 2)))
    with pytest.raises(InputError, match=r"peers\.a: fails on rows of shape \(5,\)"):
        peerlearn.fit(cohort(), (torch.randn(20, 5), torch.arange(20) % 2))
    words = peerlearn.Cohort({"a": nn.EmbeddingBag(9, 2), "b": nn.EmbeddingBag(99, 2)})
    tokens = torch.arange(20)[:, None].repeat(1, 4) + 9
    with pytest.raises(InputError, match=r"peers\.a: fails on rows of shape \(4,\)"):
        peerlearn.fit(words, (tokens, torch.arange(20) % 2))
    with pytest.raises(InputError, match=r"peers\.a: gives outputs of shape \(2, 2\).* 3 classes"):
        peerlearn.fit(cohort(), (torch.randn(30, 6), torch.arange(30) % 3))


def test_a_part_that_is_missing_is_held_out_of_train() -> None:
    given = {k: v for k, v in arrays().items() if "test" not in k}
    told: list[dict] = []
    result = peerlearn.fit(cohort(), given, epochs=1, observe=told.append, **QUICK)
    assert "held out of train: 4 for val and 4 for test rows" in str(told[0]["facts"])
    assert result.info is not None
    assert result.info.rows == {"train": 32, "val": 4, "test": 4}
    pair = given["x_train"], given["y_train"]
    assert peerlearn.fit(cohort(), pair, epochs=1, **QUICK).block["peers"] == result.block["peers"]


class Sentences(nn.Module):
    """Reads ids of tokens, and where they count."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(20, 8), nn.Linear(8, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> dict:
        h = self.embed(input_ids)
        if attention_mask is not None:
            h = h * attention_mask[..., None]
        return {"logits": self.head(h.mean(1))}


def sentences() -> peerlearn.Cohort:
    with seeded_rng(0, "test"):
        return peerlearn.Cohort({"a": Sentences(), "b": Sentences()})


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Sentences that hold the word 7, or do not."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(8, 20, (120, 5), generator=draw)
    y = torch.arange(120) % 2
    ids[y == 1, 2] = 7
    return ids, y


def test_ids_of_tokens_reach_an_embedding_alone_and_by_name() -> None:
    ids, y = tokens()
    options = QUICK | {"lr": 0.2, "epochs": 20}
    alone = peerlearn.fit(sentences(), (ids, y), **options)
    assert alone.block["ensemble"]["accuracy"] == 1
    named = {"input_ids": ids, "attention_mask": torch.ones(120, 5)}
    by_name = peerlearn.fit(sentences(), (named, y), **options)
    assert by_name.block["ensemble"]["nll"] == pytest.approx(alone.block["ensemble"]["nll"])
    half = named | {"attention_mask": torch.ones(120, 5).index_fill(1, torch.tensor(2), 0)}
    assert peerlearn.fit(sentences(), (half, y), **options).block["ensemble"]["accuracy"] < 1
    with pytest.raises(InputError, match=r"peers\.a: fails on rows of shape \(5,\).*Long"):
        peerlearn.fit(peerlearn.Cohort({n: nn.Linear(5, 2) for n in "ab"}), (ids, y))
    with pytest.raises(InputError, match=r"augment\.crop: the data has rows by name"):
        peerlearn.fit(sentences(), (named, y), augment={"crop": 1})


def test_a_data_set_trains_as_its_rows_do_and_resumes(tmp_path: Path) -> None:
    given = arrays()
    parts = {
        part: TensorDataset(given[f"x_{part}"], given[f"y_{part}"]) for part in ("train", "test")
    }
    parts["val"] = parts["test"]
    options = QUICK | {"epochs": 4}
    whole = peerlearn.fit(cohort(), parts, **options)
    loaders = {part: DataLoader(rows, 16, shuffle=True) for part, rows in parts.items()}
    loaded = peerlearn.fit(cohort(), loaders, epochs=4, lr=0.5, precision="fp32")
    # The batch size is that of the loader; evaluation reads other batches, so that sums differ.
    for name, measured in whole.block["peers"].items():
        assert loaded.block["peers"][name] == pytest.approx(measured, rel=1e-5), name
    assert (
        peerlearn.fit(cohort(), parts, workers=1, **options).block["peers"] == whole.block["peers"]
    )

    def stop(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        peerlearn.fit(cohort(), parts, folder=tmp_path / "run", observe=stop, **options)
    resumed = peerlearn.fit(cohort(), parts, folder=tmp_path / "run", resume=True, **options)
    assert resumed.block["peers"] == whole.block["peers"]


def test_a_folder_of_fit_is_a_finished_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, given = tmp_path / "run", arrays()
    trained = cohort()
    result = peerlearn.fit(trained, given, epochs=2, folder=run, **QUICK)
    names = {"config.yaml", "env.json", "data.json", "results.json", "metrics.jsonl", "checkpoints"}
    assert names <= {path.name for path in run.iterdir()}
    app(["report", str(run), "--out", str(tmp_path / "page.html")], standalone_mode=False)
    assert "A cohort of one's own" in html.unescape((tmp_path / "page.html").read_text())

    # Commands say what they lack, and the line of Python that has it.
    for command in (["eval", str(run)], ["predict", str(run), "x.npy"]):
        with pytest.raises(InputError, match=r"made in Python|given in Python"):
            app(command, standalone_mode=False)
    with pytest.raises(InputError, match=r'peerlearn\.load\("FOLDER", networks={"a": …, "b": …}\)'):
        _ = peerlearn.load(run).peers
    again = {n: nn.Linear(6, 2) for n in ("a", "b")}
    loaded = peerlearn.load(run, networks=again)
    for name, network in again.items():
        assert torch.equal(network.weight, trained.peers[name].weight)
    rows = given["x_test"]
    accuracy = (loaded.predict(rows, peer="a").classes == given["y_test"]).double().mean().item()
    assert accuracy == pytest.approx(result.block["peers"]["a"]["accuracy"])
    for wrong, said in (
        ({"a": again["a"]}, "networks: given for a; the peers of the run are a, b"),
        ({n: nn.Linear(6, 3) for n in ("a", "b")}, "does not fit"),
        ({n: nn.Sequential(nn.Linear(6, 2)) for n in ("a", "b")}, "does not fit"),
    ):
        with pytest.raises(InputError, match=said):
            peerlearn.load(run, networks=wrong)


def test_a_run_on_items_predicts_rows_as_they_come(tmp_path: Path) -> None:
    ids, y = tokens()
    named = {"input_ids": ids, "attention_mask": torch.ones(120, 5)}
    cohort = sentences()
    peerlearn.fit(cohort, (named, y), epochs=3, folder=tmp_path / "run", **QUICK)
    loaded = peerlearn.load(tmp_path / "run", networks={"a": Sentences(), "b": Sentences()})
    found = loaded.predict(named, peer="b").probabilities
    torch.testing.assert_close(found, cohort.peers["b"](**named)["logits"].softmax(1))
    np.save(tmp_path / "x.npy", ids.numpy())
    with pytest.raises(InputError, match=r"x\.npy: the run was trained on a Dataset in Python"):
        loaded.predict(tmp_path / "x.npy")


def test_commands_do_not_begin_what_fit_trained(tmp_path: Path) -> None:
    with seeded_rng(0, "nets"):
        nets = {n: build_model("mlp", (1, 8, 8), 10, {"hidden": [4]}) for n in ("a", "b")}
    cohort = peerlearn.Cohort(nets)
    result = peerlearn.fit(cohort, "digits", epochs=1, folder=tmp_path / "run", lr=0.1)
    loaded = peerlearn.load(tmp_path / "run", networks=nets)
    again = evaluate_run(loaded.run)["arms"]["fit"]["ensemble"]["accuracy"]["mean"]
    assert again == result.block["ensemble"]["accuracy"]
    with pytest.raises(InputError, match="peers a, b: networks that were made in Python"):
        app(["run", str(tmp_path / "run/config.yaml")], standalone_mode=False)
    with pytest.raises(InputError, match="unknown recipe 'fit'"):
        app(["run", "fit"], standalone_mode=False)


def test_a_result_prints_as_a_short_table() -> None:
    result = peerlearn.fit(cohort(), arrays(), epochs=2, **QUICK)
    shown = repr(result).splitlines()
    assert shown[0] == "TrainingResult: 2 epochs" and len(shown) == 6 and max(map(len, shown)) < 80
    titles, accuracy = shown[1].split(), result.block["peers"]["b"]["accuracy"]
    assert titles[0] == "accuracy" and titles[-1] == "epoch"
    assert shown[3].split()[:2] == ["b", f"{accuracy:.4f}"]
    assert shown[3].split()[-1] == str(result.selected["b"]["epoch"])
    assert [line.split()[0] for line in shown[2:]] == ["a", "b", "mean", "ensemble"]


def test_what_is_not_there_is_not_resumed(tmp_path: Path) -> None:
    peers = peerlearn.Cohort({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    rows = torch.randn(20, 2), torch.arange(20) % 2
    for folder, said in (
        (tmp_path / "new", "resume: .*/new does not exist; leave resume out to start one there"),
        (tmp_path, "resume: .* holds no run"),
        (None, "resume: name the run folder to continue with folder"),
    ):
        with pytest.raises(InputError, match=said):
            peerlearn.fit(peers, rows, epochs=1, folder=folder, resume=True)
    with pytest.raises(InputError, match=r"resume: .*/new does not exist"):
        peerlearn.recipe("dml").run(out=tmp_path / "new", resume=True)
    assert not list(tmp_path.iterdir())
