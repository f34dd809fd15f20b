"""The system of Bayesian cohorts, and `peers.NAME.bayesian` in every recipe."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from every_option import assert_option_acts, documented_options
from overriding import parsed
from safetensors.torch import load_file, save_file
from tiny import TINY, tiny_trainer, weights

import peerlearn
from peerlearn.engine.description import described
from peerlearn.engine.posteriors import between, drawing, of_peer, what_is_odd
from peerlearn.engine.trainer import Trainer
from peerlearn.engine.updates import Steps
from peerlearn.errors import InputError
from peerlearn.models import build_model
from peerlearn.models.bayesian import BayesianNetwork, Variational, posterior, to_bayesian
from peerlearn.models.bayesian.network import Deterministic
from peerlearn.models.bayesian.options import BayesianSpec
from peerlearn.objectives.base import Classification
from peerlearn.randomness import seeded_rng
from peerlearn.systems.registry import find_recipe
from peerlearn.transfer.posterior_distances import whole_posterior

SMALL = [
    *TINY,
    "arm=mutual",
    "stages.deterministic.epochs=1",
    *(f"peers.{name}.bayesian={{kl_weight: 0.01, test_samples: 2, std: 0.05}}" for name in "ab"),
]


def trainer(*overrides: str, base: list[str] = SMALL, **more: Any) -> Trainer:
    return tiny_trainer(*overrides, recipe="bayesian", base=base, **more)


@cache
def trained(*overrides: str) -> dict[str, Any]:
    """Final weights, and what was measured."""
    made = trainer(*overrides)
    result = made.run()
    return {"weights": weights(made), "measured": result.block["peers"]}


# Peers ------------------------------------------------------------------------------------------


def test_peers_begin_as_deterministic_networks_whose_weights_become_the_means() -> None:
    made = trainer("evaluation.select=last")
    seen: list[tuple[str, dict, bool]] = []

    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            awake = "posteriors" in event
            seen.append((event["stage"], weights(made), awake))

    made.observe = observe
    before = weights(made)
    made.run()
    assert [(stage, awake) for stage, _, awake in seen] == [
        ("deterministic", False),
        ("mutual", True),
        ("mutual", True),
    ]
    alone = seen[0][1]
    moved = {name for name in before if before[name] != alone[name]}
    assert any(name.endswith(".weight") for name in moved)
    assert not [name for name in moved if name.endswith("_rho")], "no draw, so no gradient"
    assert [name for name in alone if name.endswith("_rho") and alone[name] != weights(made)[name]]
    assert not any(peer.deterministic for peer in made.cohort.peers.values())


def test_equal_seeds_give_equal_weights_and_the_first_stage_is_that_of_plain_networks() -> None:
    bayesian, plain = (
        trainer(*more, "evaluation.select=last", "transfer=none")
        for more in ((), ("peers.a.bayesian=null", "peers.b.bayesian=null"))
    )
    assert {n: z for n, z in weights(bayesian).items() if n in weights(plain)} == weights(plain)
    ends: list[dict] = []
    for made in (bayesian, plain):
        made.observe = lambda event, made=made: (
            event.get("stage") == "deterministic"
            and event["event"] == "epoch"
            and ends.append(weights(made))
        )
        made.run()
    assert {name: ends[0][name] for name in ends[1]} == ends[1]


@pytest.mark.parametrize("recipe", ["dml", "renyi", "styles-classify", "dml-few-labels"])
def test_a_peer_of_any_recipe_may_be_bayesian(recipe: str) -> None:
    made, given = find_recipe(recipe)
    name = next(iter(given["peers"]))
    options = ["precision=fp32", "threads=1", "data.name=digits", "data.train_size=100", "epochs=1"]
    if recipe == "styles-classify":
        options += ["peers.*.model=mlp", "peers.*.arguments={}", "compression=null", "arm=ml-v1"]
        name = "s1"
    options += [f"peers.{name}.bayesian={{test_samples: 2, kl_weight: 0.001}}"]
    built = made.build(made.resolve(given, parsed(*options)))
    block = built.run().block
    assert 0 <= block["peers"][name]["accuracy"] <= 1
    assert isinstance(built.cohort.peers[name], BayesianNetwork)
    assert built.progress.history[-1]["posteriors"]["peers"].keys() == {name}


def test_weights_of_a_plain_network_are_means_and_those_of_a_bayesian_one_all_of_it(
    tmp_path: Path,
) -> None:
    with seeded_rng(5):
        plain = build_model("mlp", (1, 8, 8), 10, {"hidden": [16], "dropout": 0.2})
        drawn = to_bayesian(build_model("mlp", (1, 8, 8), 10, {"hidden": [16]}), std=0.3)
    for number, network in enumerate((plain, drawn)):
        save_file(network.state_dict(), tmp_path / f"{number}.safetensors")
    empirical = "peers.a.bayesian={prior: empirical}"
    for number, network in enumerate((plain, drawn)):
        file = tmp_path / f"{number}.safetensors"
        if number:  # a file without the means of priors is not all of an empirical peer
            made = trainer(f"peers.a.weights={file}", "peers.a.bayesian=all")
        else:
            made = trainer(f"peers.a.weights={file}", empirical)
        own = made.cohort.peers["a"].state_dict()
        assert all(torch.equal(own[name], each) for name, each in network.state_dict().items())
        if not number:
            for name, gaussian in posterior(made.cohort.peers["a"]):
                assert torch.equal(gaussian.prior_mean, network.state_dict()[name])


def test_what_is_shipped_has_the_names_of_the_network(tmp_path: Path) -> None:
    made = trainer(folder=tmp_path / "run")
    made.run()
    file = tmp_path / "run" / "checkpoints" / "best" / "a.safetensors"
    plain = build_model("mlp", (1, 8, 8), 10, {"hidden": [16], "dropout": 0.2})
    found = load_file(file)
    missing, extra = plain.load_state_dict(found, strict=False)
    assert not missing and all("rho" in name or "prior" in name for name in extra)


def test_n_is_the_rows_with_a_label() -> None:
    few = trainer("data.labels=50", "peers.b.bayesian=null").cohort.objectives
    assert isinstance(few["a"], Variational) and few["a"].rows == 50
    assert few["b"] == Classification()
    assert trainer().cohort.objectives["a"].rows == 100


CNNS = [
    f"peers.{name}={{model: cnn, arguments: {{width: 0.25}}, bayesian: {{test_samples: 2}}}}"
    for name in "ab"
]


@pytest.mark.parametrize("arm", find_recipe("bayesian")[1]["arms"])
def test_every_arm_trains(arm: str) -> None:
    made = trainer("peers=null", "epochs=1", f"arm={arm}", *CNNS)
    block = made.run().block
    assert block["peers"].keys() == {"a", "b"}
    assert ("posteriors" in block) == (arm not in ("deterministic", "mc-dropout", "laplace"))
    losses = made.progress.history[-1]["train"]["a"]
    repels = arm in ("full", "parameters", "features")
    assert (losses["transfer"] != 0) == (repels or arm == "mutual")


def test_a_comparison_has_posteriors_of_all_seeds(tmp_path: Path) -> None:
    bound = peerlearn.recipe("bayesian", parsed(*[w for w in SMALL if "arm=" not in w]))
    found = bound.compare(tmp_path / "cmp", arms=["independent"], seeds=range(2))["arms"]
    told = found["independent"]["posteriors"]["a"]["kl_per_row"]["values"]
    assert len(told) == 2 and told[0] != told[1]


def test_peers_of_other_layers_have_no_distance() -> None:
    with pytest.raises(InputError, match=r"transfer\.edges\.1.*(architectures|layers)"):
        trainer("arm=parameters").run()


# Steps of the widths ------------------------------------------------------------------------------


def test_widths_have_steps_of_their_own() -> None:
    """Plain gradient descent at the rate of the means moves σ far less than Adam does."""

    def moved(*more: str) -> float:
        made = trainer("peers.a.bayesian.std=0.005", *more)
        made.run()
        peer, objective = made.cohort.peers["a"], made.cohort.objectives["a"]
        std = of_peer(peer, whole_posterior(peer).weights, objective)["std"][1]
        return abs(std - 5e-3)

    plain = "peers.a.groups.*_rho={optimiser: sgd, lr: 0.02}"
    assert moved() > 3 * moved(plain) > 0


def test_groups_are_patterns_of_names_and_the_first_that_fits_counts() -> None:
    base = [*TINY, "peers.a.groups={'head*': {lr: 0.5}, '*.bias': {optimiser: adam, lr: 0.001}}"]
    with pytest.raises(InputError, match=r"peers\.a\.groups\.head\*: names no parameter.*Names"):
        tiny_trainer(base=base)
    words = "peers.a.groups={'*.bias': {optimiser: adam, lr: 0.001}, '*': {lr: 0.5}}"
    made = tiny_trainer(words)
    steps = Steps.of_groups(made.training, None, made.peers["a"])
    assert [(each.lr, each.optimiser.name) for each in steps.values()] == [
        (0.001, "adam"),
        (0.5, made.training.optimiser.name),
    ]
    with made.stepping() as step:
        step(next(iter(made.stages[0].loader.epoch(0, 0))))
        update = made.current.updates["a"]
        found = [type(each.optimiser) for each in update._stepped]
        assert found == [torch.optim.Adam, torch.optim.SGD], "nothing is left for a third"
        counts = [
            sum(len(g["params"]) for g in each.optimiser.param_groups) for each in update._stepped
        ]
        assert sum(counts) == len(list(made.cohort.peers["a"].parameters()))


def test_a_run_with_groups_resumes_exactly(tmp_path: Path) -> None:
    whole = trainer(folder=tmp_path / "whole")
    whole.run()

    class Killed(Exception):
        pass

    for stop in (1, 2):

        def dying(event: dict[str, Any], left: list[int] = [stop]) -> None:  # noqa: B006
            left[0] -= event["event"] == "epoch"
            if left[0] == 0:
                raise Killed

        cut = trainer(folder=tmp_path / f"cut{stop}")
        cut.observe = dying
        with pytest.raises(Killed):
            cut.run()
        resumed = trainer(folder=tmp_path / f"cut{stop}")
        resumed.run(resume=True)
        assert weights(resumed) == weights(whole)


# What is told -------------------------------------------------------------------------------------


def test_distances_and_widths_are_told_epoch_by_epoch() -> None:
    made = trainer(
        "peers.a={model: mlp, arguments: {hidden: [16]}, bayesian: all}",
        "peers.b={model: mlp, arguments: {hidden: [16]}, bayesian: all}",
    )
    block = made.run().block
    told = made.progress.history[-1]["posteriors"]
    assert block["posterior_distances"] == told["pairs"]
    medians = {name: it["signal"][1] for name, it in told["peers"].items()}
    assert {name: it["signal"] for name, it in block["posteriors"].items()} == medians
    assert told["pairs"]["a~b"].keys() == {"w2", "cosine", "agreement"}
    peers = made.cohort.peers
    made_again = between({name: whole_posterior(peers[name]) for name in "ab"})["a~b"]
    expected = sum(
        ((one.mean - other.mean).square().sum() + (one.std - other.std).square().sum()).item()
        for (_, one), (_, other) in zip(posterior(peers["a"]), posterior(peers["b"]), strict=True)
    )
    assert made_again["w2"] == pytest.approx(expected, rel=1e-5)
    with Deterministic(made.cohort):
        assert not drawing(peers)
    same = between({name: whole_posterior(peers["a"]) for name in "ac"})["a~c"]
    assert same["w2"] == 0 and same["cosine"] == pytest.approx(1)


def test_posteriors_that_are_not_sane_are_told_once() -> None:
    said: list[str] = []
    for words, expected in (
        ("{kl_weight: 10}", r"a: kl_weight × KL.* lower peers.a.bayesian.kl_weight \(10\)"),
        ("{std: 0.5, kl_weight: 0}", r"median of \|μ\|/σ is 0\.\d+; weights are mostly noise"),
        ("{std: 1.0e-6, kl_weight: 0}", r"as good as deterministic; raise peers.a.bayesian.std"),
    ):
        said.clear()
        made = trainer(
            "peers.b=mlp", f"peers.a={{model: mlp, bayesian: {words}}}",
            "peers.a.groups.*_rho.lr=1e-9",
        )  # fmt: skip
        made.observe = lambda event: event["event"] == "note" and said.append(event["text"])
        made.run()
        assert len(said) == 1
        with pytest.raises(AssertionError, match=expected):
            raise AssertionError(said[0])
    assert what_is_odd({"train": {}}) == []


@pytest.mark.parametrize("posterior", ["gaussian", "laplace"])
def test_how_large_batches_of_evaluation_are_changes_nothing(posterior: str) -> None:
    words = [
        f"peers.a.bayesian={{posterior: {posterior}, test_samples: 3, std: 0.1}}",
        "peers.b=mlp",
    ]
    of = [trained("transfer=none", *words, f"evaluation.batch_size={size}") for size in (50, 360)]
    nll = [each["measured"]["a"]["nll"] for each in of]
    assert nll[0] == pytest.approx(nll[1], rel=1e-5)


def test_draws_are_told_and_counted_as_forwards() -> None:
    made = trainer("peers.b.bayesian={posterior: dropout, test_samples: 4}")
    told = described(made)["peers"]
    assert told[0].endswith("posteriors of 2 layers, 2 draws") and "mlp" in told[0]
    assert told[1].endswith("dropout that is drawn, 4 draws")
    sizes = made.run().block["sizes"]
    assert [sizes[name]["draws"] for name in "ab"] == [2, 4]


def test_a_laplace_posterior_is_fitted_when_training_is_over(tmp_path: Path) -> None:
    words = "peers.a.bayesian={posterior: laplace, test_samples: 3}"
    plain = [word for word in SMALL if ".bayesian" not in word] + ["transfer=none"]
    made = trainer(base=[*plain, words], folder=tmp_path / "run")
    alone = trainer(base=plain)
    block = made.run().block
    alone.run()
    found = {name: it for name, it in weights(made).items() if name.startswith("a.")}
    expected = {name: it for name, it in weights(alone).items() if name.startswith("a.")}
    assert {name: found[name] for name in expected} == expected, "it trains as a plain network"
    assert block["peers"]["a"]["mutual_information"] > 0
    (rhos,) = [it for name, it in found.items() if "weight_rho" in name]
    assert len(set(rhos)) > 10, "each weight has a σ of its own"
    again = trainer(base=[*plain, words], folder=tmp_path / "run")
    assert again.run(resume=True).block["peers"] == block["peers"]
    recipe, given = find_recipe("dml")
    with pytest.raises(InputError, match=r"peers\.a\.bayesian\.posterior: 'laplace' is fitted"):
        recipe.resolve(given, parsed(words))


def test_logits_that_are_not_of_the_last_linear_layer_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "softened_logits.py").write_text(
        "from torch import nn\n\n"
        "def build(shape, classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes), nn.Softplus())\n",
        encoding="utf-8",
    )
    words = "peers.a={model: 'python:softened_logits:build', bayesian: {posterior: laplace}}"
    with pytest.raises(InputError, match=r"peers\.a\.bayesian: .* not what 1 gives"):
        trainer("transfer=none", words, "peers.b=mlp")


# Options ------------------------------------------------------------------------------------------

OPTIONS = {
    "posterior": ([], "peers.a.bayesian.posterior=dropout"),
    "dropout": (["peers.b.bayesian={posterior: dropout}"], "peers.b.bayesian.dropout=0.4"),
    "layers": ([], "peers.a.bayesian.layers=last"),
    "std": ([], "peers.a.bayesian.std=0.01"),
    "prior": ([], "peers.a.bayesian.prior=tied"),
    "prior_std": ([], "peers.a.bayesian.prior_std=0.5"),
    "biases": ([], "peers.a.bayesian.biases=false"),
    "method": ([], "peers.a.bayesian.method=flipout"),
    "train_samples": ([], "peers.a.bayesian.train_samples=2"),
    "test_samples": ([], "peers.a.bayesian.test_samples=5"),
    "kl_weight": ([], "peers.a.bayesian.kl_weight=0.1"),
    "warm_up": ([], "peers.a.bayesian.warm_up=0"),
}


def test_every_option_of_posteriors_is_listed() -> None:
    assert set(documented_options(BayesianSpec, ())) == OPTIONS.keys()


@pytest.mark.parametrize("option", OPTIONS)
def test_option_changes_the_result(option: str) -> None:
    assert_option_acts(trained, OPTIONS, option)


def test_stage_options_change_the_result() -> None:
    plain = trained()
    for change in ("epochs=2", "lr=0.5", "optimiser=adam", "lr_schedule=constant"):
        name, value = change.split("=")
        assert trained(f"stages.deterministic.{name}={value}") != plain


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("peers.a.bayesian=some", r"peers\.a\.bayesian\.layers: found 'some'.*all"),
        ("peers.a.bayesian.test_samples=0", r"peers\.a\.bayesian\.test_samples"),
        ("peers.a.bayesian.prior_std=0", r"peers\.a\.bayesian\.prior_std"),
        ("peers.a.bayesian.methd=local", r"methd: unknown key.*'method'"),
    ],
)
def test_what_cannot_be_is_refused(words: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        trainer(words)


def test_discovery_has_no_posteriors() -> None:
    recipe, given = find_recipe("discovery")
    with pytest.raises(InputError, match=r"peers\.\w+.*bayesian: branches begin as copies"):
        recipe.resolve(given, parsed("peers.*.bayesian=all"))


def test_a_finished_run_is_loaded_and_predicts_the_mean_of_its_draws(tmp_path: Path) -> None:
    recipe, given = find_recipe("bayesian")
    config = recipe.resolve(given, parsed(*SMALL))
    peerlearn.systems.running.run_recipe(recipe, config, tmp_path / "run")
    run = peerlearn.load(tmp_path / "run")
    net = run.peer("a")
    assert isinstance(net, BayesianNetwork) and net.test_samples == 2
    found = run.predict(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).probabilities
    assert found.sum(1) == pytest.approx([1, 1, 1])


def test_edges_about_posteriors_refuse_those_that_are_fitted_after_the_training() -> None:
    words = ["arm=parameters", *(f"peers.{name}.bayesian={{posterior: laplace}}" for name in "ab")]
    with pytest.raises(InputError, match=r"peer 'a' are fitted after the training .*laplace"):
        trainer("stages.deterministic.epochs=1", *words, base=TINY).run()
