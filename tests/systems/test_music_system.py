"""The recipe `music`: its options act, it resumes exactly, and branches stay out of each other."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from overriding import parsed
from tiny import weights

from peerlearn.engine.run_folder import RunFolder
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError
from peerlearn.systems.registry import find_recipe

TINY = (
    "data.world={users: 40, items: 30, listens: 8}",
    "peers.visual=null",
    "negatives=16",
    "epochs=3",
    "evaluation.every=3",
    "batch_size=16",
    "transfer.weight_schedule=constant",
    "threads=1",
)


def trainer(*overrides: str, folder: Path | None = None) -> Trainer:
    recipe, given = find_recipe("music")
    config = recipe.resolve(given, parsed(*TINY, *overrides))
    made = recipe.build(config)
    if folder is not None:
        made.folder = RunFolder(folder)
        made.folder.open(config.dump(), resume=True)
    return made


@cache
def trained(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Final weights, and what was measured."""
    made = trainer(*overrides)
    block = made.run().block
    return weights(made), {"peers": block["peers"], "ensemble": block["ensemble"]}


@pytest.mark.parametrize(
    "words",
    [
        "objective.loss=bpr",
        "objective.emotion=0",
        "negatives=4",
        "transfer=none",
        "transfer.temperature=0.5",
        "transfer.divergence=reverse_kl",
        "transfer.candidates=negatives",
        "transfer.edges=[{knowledge: other_classes, weight: 0.1}]",
        "peers.audio.arguments.alpha=0",
        "peers.audio.arguments.layers=1",
        "peers.audio.arguments.modality=none",
        "peers.audio.arguments.modality=lyrics+audio",
        "peers.audio.arguments.hidden=4",
        "peers.audio.arguments.dropout=0.5",
        "peers.audio.arguments.scores=dot",
        "peers.audio.arguments.temperature=0.5",
        "peers.audio.arguments.negatives=0.5",
        "peers.audio.arguments.emotion=false",
        "peers.audio.arguments.dim=4",
        "peers.audio.model=ngcf",
    ],
)
def test_every_option_changes_what_is_learned(words: str) -> None:
    if words.endswith("ngcf"):
        words = "peers.audio={model: ngcf, arguments: {dim: 8}}"
    assert trained(words)[0] != trained()[0]


def test_who_ranks_an_item_changes_the_ensemble_and_nothing_else() -> None:
    alike, served = trained(), trained("together=served")
    assert alike[0] == served[0] and alike[1]["peers"] == served[1]["peers"]
    assert alike[1]["ensemble"] != served[1]["ensemble"]


def test_a_branch_is_the_same_whoever_stands_beside_it_where_nobody_teaches() -> None:
    both, _ = trained("transfer=none")
    alone, _ = trained("transfer=none", "peers.lyrics=null")
    assert alone and all(both[name] == values for name, values in alone.items())


def test_a_killed_run_resumes_exactly(tmp_path: Path) -> None:
    whole, _ = trained()

    class Killed(Exception):
        pass

    def dying(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            raise Killed

    cut = trainer(folder=tmp_path)
    cut.observe = dying
    with pytest.raises(Killed):
        cut.run()
    again = trainer(folder=tmp_path)
    again.run(resume=True)
    assert weights(again) == whole


def test_what_is_computed_may_teach_and_does_not_change() -> None:
    words = ("peers.computed={model: ease}", "transfer.edges=[{from: computed, to: audio}]")
    taught = trainer(*words)
    before = {name: values for name, values in weights(taught).items() if "computed" in name}
    taught.run()
    assert before == {name: v for name, v in weights(taught).items() if "computed" in name}
    assert any(torch.tensor(values).any() for values in before.values())
    assert weights(taught) != trained("transfer=none")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["peers.audio.arguments.modality=adio"], r"modality: .*'adio'.*'audio'"),
        (["peers.audio.arguments.alpha=2"], r"alpha = 2: .*less than or equal to 1"),
        (["peers.audio.arguments.alpha=.nan"], r"alpha = nan"),
        (["peers.audio.arguments.layers=-1"], r"layers = -1"),
        (["peers.audio.arguments.hidden=-3"], r"hidden = -3"),
        (["peers.audio.arguments.temperature=.inf"], r"temperature = inf"),
        (["peers.audio.arguments.negatives=0"], r"negatives = 0"),
        (["peers.audio={model: ngcf, arguments: {temperature: 0}}"], r"temperature = 0"),
        (["peers.audio.arguments.modality=audio+none"], r"'none' beside others; it stands alone"),
        (["peers.audio.arguments.modality=audio+audio"], r"has 'audio' twice"),
        (["peers.audio.arguments.modality=all+audio"], r"'all' beside others; it stands alone"),
        (["peers.audio.model=brunch"], r"peers\.audio\.model: unknown model 'brunch'.*'branch'"),
        (["objective.loss=soft"], r"objective\.loss: found 'soft'.*softmax, bpr"),
        (["negatives=0"], r"negatives"),
        (
            ["peers.audio.model=ease", "peers.audio.arguments={regularisation: 0}"],
            r"regularisation = 0",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_named(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trainer(*words)
