"""Category discovery: arms are what their names say, truth never trains, runs resume and share."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from overriding import parsed
from safetensors.torch import load_file
from tiny_discovery import (
    ALONE,
    TINY,
    digit_arrays,
    numbers,
    records,
    reported,
    tiny_config,
    tiny_discovery,
    tiny_recipe,
    weights,
)

from peerlearn.compare.cells import plan_cells
from peerlearn.compare.grid import run_grid
from peerlearn.engine.shared_stages import stage_keys
from peerlearn.errors import InputError
from peerlearn.randomness import derive_seed
from peerlearn.systems.discovery.recipe import DISCOVERY
from peerlearn.systems.running import run_recipe
from peerlearn.tasks.discovery.metrics.clustering import cluster_accuracy
from peerlearn.tasks.discovery.networks import LinearHeads, UnoHeads
from peerlearn.tasks.discovery.objectives.pairs import DiscoveryObjective
from peerlearn.tasks.discovery.objectives.uno import UnoObjective
from peerlearn.tasks.discovery.stages import pooled_features

BOTH, ONE = ["global", "local"], ["global"]
BOTH_WAYS = {("global", "local"), ("local", "global")}
#: By arm: its peers, its edges, how it labels pairs (or None), and the stages before the joint one.
ARMS: dict[str, tuple[list[str], set[tuple[str, str]], str | None, list[str]]] = {
    "dual": (BOTH, BOTH_WAYS, "ranking", ["rotation", "supervised"]),
    "independent": (BOTH, set(), "ranking", ["rotation", "supervised"]),
    "one-way": (BOTH, {("local", "global")}, "ranking", ["rotation", "supervised"]),
    "ranking": (ONE, set(), "ranking", ["rotation", "supervised"]),
    "ranking-incremental": (ONE, set(), "ranking", ["rotation", "supervised"]),
    "hard-cosine": (ONE, set(), "hard_cosine", ["rotation", "supervised"]),
    "soft-cosine": (ONE, set(), "soft_cosine", ["rotation", "supervised"]),
    "kmeans": (ONE, set(), "ranking", ["rotation", "supervised"]),
    "kmeans-rotation": (ONE, set(), "ranking", ["rotation"]),
    "uno": (ONE, set(), None, ["rotation", "supervised"]),
    "uno-mutual": (BOTH, BOTH_WAYS, None, ["rotation", "supervised"]),
}


def trained(*overrides: str) -> Any:
    trainer = tiny_discovery(*overrides)
    trainer.run()
    return trainer


def test_the_arms_are_those_of_the_recipe_the_full_system_first() -> None:
    _, given = tiny_recipe()
    assert list(given["arms"]) == list(ARMS)
    assert DISCOVERY.defaults() == given


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_what_its_name_says_and_trains(arm: str) -> None:
    peers, edges, pseudo_labels, before = ARMS[arm]
    trainer = tiny_discovery(f"arm={arm}")
    assert [stage.name for stage in trainer.stages if stage.name != "start"] == [*before, "joint"]
    found = {(edge["from"], edge["to"]) for edge in trainer.cohort.transfer.edges()}
    assert (trainer.cohort.names, found) == (peers, edges)
    for name, objective in trainer.cohort.objectives.items():
        branch = trainer.cohort.peers[name]
        if pseudo_labels is None:
            assert isinstance(objective, UnoObjective)
            assert isinstance(branch.heads, UnoHeads)
        else:
            assert isinstance(objective, DiscoveryObjective)
            assert isinstance(branch.heads, LinearHeads)
            assert objective.spec.pseudo_labels == pseudo_labels
            assert (branch.heads.joined is not None) == ("incremental" in arm)
            assert objective.spec.of == {"global": "pooled", "local": "parts"}[name]

    result = trainer.run()
    kinds = {record["stage"] for record in result.history}
    assert kinds == {*before} | (set() if "kmeans" in arm else {"joint"})
    for metrics in (*result.block["peers"].values(), result.block["ensemble"]):
        shares = {"cluster_accuracy", "nmi", "known_accuracy", "test_cluster_accuracy"}
        assert all(0 <= metrics[name] <= 1 for name in shares)
        assert 1 <= metrics["clusters"] <= (10 if "incremental" in arm else 5)
    for metrics in result.block["peers"].values():
        assert ("pair_precision" in metrics) == (pseudo_labels is not None)
    assert set(result.block["between_peers"]["agreement"]) == (
        {"global~local"} if peers == BOTH else set()
    )


# Training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["dual", "uno", "kmeans"])
def test_labels_of_unlabelled_rows_never_train(tmp_path: Path, arm: str) -> None:
    arrays = digit_arrays()
    y = arrays["y_train"]
    shuffled, new = y.copy(), y >= 5
    shuffled[new] = np.random.default_rng(0).permutation(y[new])
    assert (shuffled != y).sum() > 50
    found = []
    for name, labels in (("true", y), ("shuffled", shuffled)):
        np.savez(tmp_path / f"{name}.npz", **(arrays | {"y_train": labels}))
        data = f"data={{name: {tmp_path / name}.npz}}"
        trainer = tiny_discovery(f"arm={arm}", data)
        found.append((trainer.run().block, weights(trainer)))
    (block, truly), (other, blindly) = found
    assert truly == blindly
    assert block["ensemble"]["nmi"] != other["ensemble"]["nmi"], "truth does not measure"
    assert block["ensemble"]["test_cluster_accuracy"] == other["ensemble"]["test_cluster_accuracy"]


def test_branches_without_edges_are_two_trained_alone() -> None:
    together, alone = trained("arm=independent"), trained("arm=ranking")
    beside = trained("arm=independent", "peers.global.compares=parts")
    assert weights(together)["global"] == weights(alone)["global"] != weights(beside)["global"]
    assert weights(together)["local"] == weights(beside)["local"]
    assert weights(together)["trunk"] == weights(alone)["trunk"]


def test_edges_teach_whom_they_lead_to() -> None:
    dual, alone = weights(trained("arm=dual")), weights(trained("arm=independent"))
    one_way = weights(trained("arm=one-way"))
    assert dual["global"] != alone["global"]
    assert dual["local"] != alone["local"] == one_way["local"]
    assert one_way["global"] != alone["global"]


def test_the_stages_before_are_the_same_in_every_arm() -> None:
    def left_behind(arm: str) -> list[Any]:
        trainer, seen = tiny_discovery(f"arm={arm}"), []
        trainer.observe = lambda event: (
            event["event"] == "epoch"
            and event["stage"] != "joint"
            and seen.append(
                [numbers(trainer.cohort.trunk), numbers(trainer.cohort.peers["global"].stage)]
            )
        )
        trainer.run()
        return seen

    first = left_behind("dual")
    assert len(first) == 2
    assert all(left_behind(arm) == first for arm in ("ranking", "kmeans"))


def test_the_trunk_stands_still_in_the_joint_stage() -> None:
    trainer, seen = tiny_discovery(), {}
    before = numbers(trainer.cohort.trunk)
    trainer.observe = lambda event: seen.update(
        {event["stage"]: numbers(trainer.cohort.trunk)} if event["event"] == "epoch" else {}
    )
    trainer.run()
    assert before != seen["rotation"] != seen["supervised"] == seen["joint"]


def test_the_trunk_reads_fixed_views_once() -> None:
    """Two copies of every image: two epochs make all, four steps each, and two only read."""

    def run(keep: bool) -> tuple[Any, int]:
        trainer, passes = tiny_discovery("copies=2", "epochs=4"), []
        if not keep:
            object.__setattr__(trainer.stages[-1], "versions", 0)
        trainer.cohort.trunk.register_forward_hook(lambda *_: passes.append(1))
        trainer.run()
        return weights(trainer), len(passes)

    (kept, few), (anew, many) = run(keep=True), run(keep=False)
    assert kept == anew
    assert many - few == 2 * 4


def test_all_branches_begin_with_the_last_stage_that_the_first_has_trained() -> None:
    trainer = tiny_discovery()
    *_, start, joint = trainer.stages
    seen = []

    def begin(cohort: Any, precision: Any) -> None:
        start.run(cohort, precision)
        first, second = (cohort.peers[name] for name in BOTH)
        for part in ("stage", "heads.known"):
            assert numbers(first.get_submodule(part)) == numbers(second.get_submodule(part))
        assert numbers(first.heads.new) != numbers(second.heads.new)
        seen.append(numbers(first.stage))

    trainer.stages = [*trainer.stages[:-2], replace(start, run=begin), joint]
    initial = numbers(trainer.cohort.peers["global"].stage)
    trainer.run()
    after = [numbers(trainer.cohort.peers[name].stage) for name in BOTH]
    assert len(seen) == 1
    assert initial != seen[0] not in after
    assert after[0] != after[1]


def test_a_branch_that_only_teaches_stays_as_it_is() -> None:
    trainer = tiny_discovery("peers.local.frozen=true")
    before = weights(trainer)
    trainer.run()
    assert weights(trainer)["local"] == before["local"]
    assert weights(trainer)["global"] != before["global"]


def test_k_means_gives_every_row_its_nearest_centre() -> None:
    from sklearn.cluster import KMeans

    trainer = tiny_discovery("arm=kmeans")
    *_, joint = trainer.stages
    data = joint.run.keywords["data"]
    trainer.run()
    features = pooled_features(trainer.cohort, "global", data, data.unlabelled)
    seed = derive_seed(0, "kmeans") % 2**32
    expected = KMeans(5, n_init=10, random_state=seed).fit_predict(features.double().numpy())
    with torch.no_grad():
        found = trainer.cohort.peers["global"].heads(features).logits[:, data.known :].argmax(1)
    assert cluster_accuracy(found, torch.from_numpy(expected).long()) == 1


def test_parts_are_of_the_last_maps_where_layers_follow_them() -> None:
    trainer = tiny_discovery(
        "peers.global.model=vgg11_bn",
        *(f"peers.global.arguments.{word}" for word in ("width=0.125", "hidden=24")),
    )
    assert trainer.cohort.objectives["local"].parts.entries.shape[1] == 64
    assert trainer.cohort.peers["global"].heads.new.in_features == 24


# Parity with the authors' code, and other settings -----------------------------------------------


def test_heads_may_read_the_other_branch_as_in_the_authors_code() -> None:
    plain, fed = trained(), trained("peers.local.fed_by=global")
    assert weights(fed)["local"] != weights(plain)["local"]
    cohort = fed.cohort.eval()
    with torch.no_grad():
        shared = cohort.trunk(torch.randn(4, 1, 8, 8))
        pooled = cohort.peers["global"](shared).features["pooled"]
        local = cohort.peers["local"](shared)
        torch.testing.assert_close(local.logits, cohort.peers["local"].heads(pooled).logits)
    assert not torch.equal(local.features["pooled"], pooled), "relations are of its own features"


def test_pairs_of_the_first_view_with_itself_as_in_the_authors_code() -> None:
    assert weights(trained()) != weights(trained("objective.pair_views=1"))


def test_branches_may_teach_sharpened_predictions_beside_similarities() -> None:
    both = trained("transfer.edges=[{}, {knowledge: predictions, teacher_temperature: 0.25}]")
    taught = {
        (edge["from"], edge["knowledge"], edge["divergence"], edge["temperature"])
        for edge in both.cohort.transfer.edges()
    }
    assert taught == {
        (peer, *how)
        for peer in BOTH
        for how in (("relations", "symmetric_kl", 0.07), ("predictions", "kl", 1.0))
    }
    for peer, before in weights(trained()).items():
        assert (weights(both)[peer] != before) == (peer in BOTH), peer


def test_known_and_new_classes_may_compete() -> None:
    apart, together = trained(*ALONE), trained(*ALONE, "objective.incremental=true")
    assert weights(apart) != weights(together)
    assert together.task.assessment("report").incremental
    assert not apart.task.assessment("report").incremental


def test_the_incremental_classifier_begins_with_new_classes_below_the_known_ones() -> None:
    trainer, seen = tiny_discovery("arm=dual", "objective.incremental=true"), []
    *_, start, joint = trainer.stages

    def begin(cohort: Any, precision: Any) -> None:
        start.run(cohort, precision)
        for _, branch in cohort.peers.items():
            seen.append(branch.heads.joined.bias - branch.heads.known.bias.min())

    trainer.stages = [*trainer.stages[:-2], replace(start, run=begin), joint]
    trainer.run()
    assert len(seen) == 2
    for below in seen:
        torch.testing.assert_close(below, torch.full((5,), -1.0))


@pytest.mark.parametrize("arm", ["dual", "uno"])
def test_the_generalised_setting_measures_all_old_and_new(arm: str) -> None:
    trainer = tiny_discovery(f"arm={arm}", "data.unlabelled_known=0.5")
    block = trainer.run().block
    assert trainer.task.info.generalised
    for metrics in (*block["peers"].values(), block["ensemble"]):
        rows = {"old": metrics["old_accuracy"], "new": metrics["new_accuracy"]}
        assert min(rows.values()) <= metrics["all_accuracy"] <= max(rows.values())
        assert metrics["all_accuracy"] == metrics["cluster_accuracy"]
    plain = tiny_discovery().run().block
    assert not any("old_accuracy" in metrics for metrics in plain["peers"].values())


def test_data_without_any_truth_are_clustered(tmp_path: Path) -> None:
    arrays = digit_arrays()
    y, known = arrays["y_train"], arrays["y_train"] < 5
    np.savez(tmp_path / "old.npz", x=arrays["x_train"][known], y=y[known])
    np.savez(tmp_path / "new.npz", x=arrays["x_train"][~known])
    files = f"data={{labelled: {tmp_path}/old.npz, unlabelled: {tmp_path}/new.npz}}"
    with pytest.raises(InputError, match=r"classes: data 'old\+new' does not say how many new"):
        tiny_discovery(files)
    block = tiny_discovery(files, "classes=4").run().block
    for metrics in (*block["peers"].values(), block["ensemble"]):
        assert 1 <= metrics["clusters"] <= 4
        assert metrics.keys() & {"cluster_accuracy", "pair_precision"} == set()
    assert 0 <= block["between_peers"]["agreement"]["global~local"] <= 1


# Weights from elsewhere --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the same network that another recipe has trained, on ten classes."""
    from peerlearn.systems.registry import find_recipe

    recipe, given = find_recipe("dml")
    tiny = ["data.train_size=64", "epochs=1", "threads=1", "precision=fp32", "transfer=none"]
    peers = ["peers.a={model: cnn, arguments: {width: 0.25}}", "peers.b=null"]
    out = tmp_path_factory.mktemp("own") / "run"
    run_recipe(recipe, recipe.resolve(given, parsed(*tiny, *peers)), out)
    return out / "checkpoints" / "best" / "a.safetensors"


def test_weights_from_elsewhere_take_the_place_of_rotations(own_weights: Path) -> None:
    given = load_file(own_weights)
    trunk = "stages.supervised.trunk=null"
    trainer = tiny_discovery(f"weights={own_weights}", "stages.rotation.epochs=0", trunk)
    for name in BOTH:
        stage = trainer.cohort.peers[name].stage.state_dict()
        for key, tensor in stage.items():
            assert torch.equal(tensor, given[f"stages.stage3.{key}"])
    trainer.run()
    assert [stage.name for stage in trainer.stages] == ["supervised", "start", "joint"]
    for key, tensor in trainer.cohort.trunk.state_dict().items():
        assert torch.equal(tensor, given[key]), "the trunk has been trained before"


@pytest.mark.parametrize(
    ("options", "trains"),
    [
        ([], True),
        (["stages.supervised.trunk=false"], False),
        (["stages.supervised.trunk=null"], False),
        (["stages.supervised.trunk=null", "stages.rotation.epochs=0"], True),
        (["stages.supervised.trunk=false", "stages.rotation.epochs=0"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_known_classes_train_the_trunk_too_or_where_nothing_has_before(
    options: list[str], trains: bool
) -> None:
    trainer, seen = tiny_discovery(*options), {"start": None}
    seen["start"] = numbers(trainer.cohort.trunk)
    trainer.observe = lambda event: seen.update(
        {event["stage"]: numbers(trainer.cohort.trunk)} if event["event"] == "epoch" else {}
    )
    trainer.run()
    assert (seen["supervised"] != seen.get("rotation", seen["start"])) == trains


def test_own_weights_of_another_network_are_refused(own_weights: Path) -> None:
    with pytest.raises(InputError, match=r"weights: .*a\.safetensors: does not fit the network"):
        tiny_discovery(f"weights={own_weights}", "peers.global.arguments.width=0.5")


# Resuming and sharing ----------------------------------------------------------------------------


class Killed(Exception):
    pass


def kill_in(stage: str, step: int) -> Callable[[dict[str, Any]], None]:
    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["stage"], event["done"]) == (stage, step):
            raise Killed

    return observe


@pytest.mark.parametrize(
    ("words", "stage", "step"),
    [
        (["arm=dual"], "rotation", 3),
        (["arm=dual"], "supervised", 1),
        (["arm=dual"], "supervised", 2),
        (["arm=dual"], "joint", 1),
        (["arm=dual"], "joint", 3),
        (["arm=dual", "copies=1", "epochs=2"], "joint", 6),
        (["arm=uno-mutual"], "joint", 3),
        (["arm=kmeans"], "supervised", 2),
    ],
)
def test_invariant_4_a_run_killed_in_any_stage_resumes_to_the_same(
    tmp_path: Path, words: list[str], stage: str, step: int
) -> None:
    """With memories, part dictionaries and the heads' losses; every step is saved."""
    config = tiny_config(*words, "checkpoint_minutes=1e-9")
    whole = run_recipe(DISCOVERY, config, tmp_path / "whole")
    with pytest.raises(Killed):
        run_recipe(DISCOVERY, config, tmp_path / "cut", observe=kill_in(stage, step))
    resumed = run_recipe(DISCOVERY, config, tmp_path / "cut", resume=True)
    assert reported(resumed) == reported(whole)
    assert records(tmp_path / "cut") == records(tmp_path / "whole")
    files = sorted((tmp_path / "whole" / "checkpoints" / "best").iterdir())
    assert [file.stem for file in files] == sorted(["trunk", *config.peers])
    for file in files:
        one, other = (load_file(tmp_path / which / file.relative_to(tmp_path / "whole"))
                      for which in ("whole", "cut"))  # fmt: skip
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), (file.stem, name)


def test_arms_of_a_comparison_share_the_stages_before(tmp_path: Path) -> None:
    """Each cell is the run that trains them itself, whoever was first and whoever is in it."""
    recipe, given = tiny_recipe()
    arms = ["ranking", "dual", "kmeans"]
    cells = plan_cells(recipe, given, parsed(*TINY), arms, [0])
    stages: list[tuple[str, str]] = []

    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            stages.append((event["arm"], event["stage"]))

    run_grid(recipe, given, cells, tmp_path / "compared", observe=observe)
    assert stages == [
        ("ranking", "rotation"), ("ranking", "supervised"), ("ranking", "joint"), ("dual", "joint"),
    ]  # fmt: skip
    assert len(list((tmp_path / "compared" / "shared").iterdir())) == 2
    for cell in cells:
        alone = tmp_path / "alone" / cell.arm
        expected = run_recipe(recipe, cell.config, alone)
        folder = cell.folder(tmp_path / "compared")
        found = run_recipe(recipe, cell.config, folder, resume=True)
        assert reported(found) == reported(expected), cell.arm
        assert records(folder) == records(alone), cell.arm


def keys(*overrides: str) -> dict[str, str | None]:
    it = tiny_discovery(*overrides)
    found = stage_keys(it.cohort, it.plan, it.training, it.precision, it.seed)
    names = {number: stage.name for number, stage in enumerate(it.stages) if stage.name != "start"}
    return {name: found.get(number) for number, name in names.items()}


def test_what_the_joint_stage_alone_depends_on_keeps_the_stages_shared() -> None:
    first = keys()
    assert len(set(first.values())) == 3
    assert first["joint"] is None
    same = [
        ["arm=independent"], ["arm=ranking"], ["arm=soft-cosine"], ["arm=kmeans"], ["epochs=3"],
        ["objective.top_k=3"], ["labelled_per_batch=8"], ["copies=2"], ["evaluation.every=1"],
        ["peers.local.lr=0.01"], ["peers.local.fed_by=global"], ["transfer.temperature=0.2"],
        ["checkpoint_minutes=1"],
    ]  # fmt: skip
    assert [options for options in same if keys(*options) != first] == []
    own = ["stages.rotation.lr=0.05", "stages.supervised.lr=0.05"]
    assert keys(*own) == keys(*own, "lr=0.01"), "the joint stage's learning rate is its own affair"
    assert keys(*own) == keys("lr=0.05"), "the same steps, said in another place"


def test_all_that_the_stages_before_depend_on_is_in_their_keys(own_weights: Path) -> None:
    first = keys()
    both = [
        "seed=1", "lr=0.05", "batch_size=16", "optimiser=adam", "lr_schedule=constant",
        "clip_norm=1", "accumulate=2", "ema=0.9", "precision=bf16", "data.train_size=100",
        "data.known=4", "data.unlabelled_known=0.5", "augment.crop=0",
        "peers.global.arguments.width=0.5", "peers.global.lr=0.05", "peers.global.optimiser=adam",
        "peers.global.lr_schedule=constant", f"weights={own_weights}", "stages.rotation.epochs=2",
        "stages.rotation.lr=0.03", "stages.rotation.optimiser=adamw",
        "stages.rotation.lr_schedule=linear",
    ]  # fmt: skip
    found = {option: keys(option) for option in both}
    found["another name"] = keys(
        "peers={solo: {model: cnn, arguments: {width: 0.25}}}", "transfer=none"
    )
    for option, other in found.items():
        for stage in ("rotation", "supervised"):
            assert other[stage] != first[stage], f"{option}: {stage}"
    every = [key for other in found.values() for name, key in other.items() if name != "joint"]
    assert len(set(every)) == len(every), "two configurations have one key"
    own = ("stages.supervised.lr=0.05", "stages.supervised.optimiser=adam")
    for option in ("stages.supervised.epochs=2", "stages.supervised.trunk=false", *own):
        other = keys(option)
        assert other["rotation"] == first["rotation"], option
        assert other["supervised"] != first["supervised"], option


# What cannot be ----------------------------------------------------------------------------------

REFUSED = {
    "no network": (["peers.global=null", "transfer=none"], "peers.local.model: names no network"),
    "another network": (["peers.local.model=resnet8"], "peers.local.model: branches share"),
    "other arguments": (
        ["peers.local.arguments={width: 0.5}"], r"peers\.local\.model: .*those of peer 'global'",
    ),
    "fed by a stranger": (
        ["peers.local.fed_by=part"], r"peers\.local\.fed_by: 'part' is no other peer; allowed: glo",
    ),
    "fed by itself": (["peers.local.fed_by=local"], r"fed_by: 'local' is no other peer"),
    "the first is fed": (["peers.global.fed_by=local"], r"peers\.global\.fed_by: the first peer"),
    "fed by one that is fed": (
        ["peers.local.fed_by=global", "peers.third={fed_by: local}"],
        r"peers\.third\.fed_by: 'local' is fed by another peer itself",
    ),
    "an average of what is fed": (
        ["peers.local.fed_by=global", "ema=0.9"], r"peers\.local\.fed_by: an average",
    ),
    "another view": (["peers.local.view=1"], r"peers\.local\.view: .*; found 1"),
    "one stage": (
        ["peers.global={model: mlp, arguments: {hidden: [8]}}"],
        r"peers\.global\.model: 'mlp' cannot be divided.*two stages or more",
    ),
    "an unknown network": (["peers.global.model=cmn"], r"peers\.global\.model: unknown model"),
    "parts of vectors": (
        ["peers.global={model: mlp, arguments: {hidden: [8, 8]}}"], r"objective\.parts: expected",
    ),
    "maps smaller than their border": (
        ["objective.parts.crop=1"], r"objective\.parts\.crop: 1 leaves nothing of maps of 1x1",
    ),
    "more than the features": (
        [*ALONE, "objective.top_k=33"], r"top_k: 33 of features of shape \(2, 32\)",
    ),
    "more than the parts": (
        ["objective.parts.size=4"], r"objective\.top_k: 5 of a dictionary of 4 parts",
    ),
    "no classes": (["classes=0"], "classes: .*found 0"),
    "more classes than rows": (["classes=64"], r"classes: 64 new classes among 63 unlabelled rows"),
    "nothing unlabelled": (["data.known=10"], r"data\.known: every row is labelled"),
    "all new, though some are not": (
        ["objective.unlabelled_are_new=1", "data.unlabelled_known=0.5"],
        r"objective\.unlabelled_are_new: .* by data\.unlabelled_known; allowed: 0",
    ),
    "all new, though some may not be": (
        [
            "objective.unlabelled_are_new=1",
            "data={labelled: old.npz, unlabelled: new.npz, overlap: true}",
        ],
        r"objective\.unlabelled_are_new: .* by data\.overlap; allowed: 0",
    ),
    "the best epoch": (["evaluation.select=best"], r"evaluation\.select: found 'best'.*last"),
    "an unknown metric": (["evaluation.metric=accuracy"], "'accuracy' is not measured by"),
    "noise": (["evaluation.noise=[0, 1]"], r"evaluation\.noise: is not probed where classes"),
    "flatness": (["evaluation.flatness=true"], r"evaluation\.flatness: is not probed"),
    "validation rows": (["evaluation.report=val+test"], r"evaluation\.report: found 'val\+test'"),
    "an unknown layer": (["transfer.layer=stage9"], "unknown layer of peer 'global' 'stage9'"),
    "no such weights": (["weights=/no/such.pt"], r"weights: /no/such\.pt: no such file"),
    "nobody learns rotations": (["peers.global.frozen=true"], "nobody trains in stage 'rotation'"),
    "an unknown arm": (["arm=duel"], "arm 'duel'.*Did you mean 'dual'"),
    "an unknown method": (["method=kmean"], "method: found 'kmean'.*Did you mean 'kmeans'"),
}  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_told_before_anything_trains(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny_discovery(*overrides)


def test_rotations_need_square_images(tmp_path: Path) -> None:
    arrays = digit_arrays()
    wide = {key: value[:, :, :6] if value.ndim == 3 else value for key, value in arrays.items()}
    np.savez(tmp_path / "wide.npz", **wide)
    data = f"data={{name: {tmp_path}/wide.npz}}"
    with pytest.raises(InputError, match=r"rotations: data 'wide' has 6x8 pixels"):
        tiny_discovery(data)
    tiny_discovery(data, "stages.rotation.epochs=0")
