"""Whether Bayesian layers are what they say, in numbers. See README.md.

python benchmarks/bayesian/exactness.py --write-readme
"""

import argparse
import copy
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the folder that `benchmarks` is in

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal
from torch.distributions import kl_divergence as reference_kl

from benchmarks.speed.page import fill
from benchmarks.speed.tables import markdown_table
from benchmarks.speed.timing import environment
from peerlearn.models import build_model
from peerlearn.models.bayesian import (
    METHODS,
    BayesianNetwork,
    kl_divergence,
    posterior,
    to_bayesian,
)
from peerlearn.models.bayesian.posterior import PriorKind
from peerlearn.randomness import seeded_rng

README = Path(__file__).with_name("README.md")
MARKS = ("<!-- exactness:begin -->", "<!-- exactness:end -->")
SHAPE, CLASSES, ROWS = (3, 32, 32), 10, 128
PRIORS: tuple[PriorKind, ...] = ("fixed", "empirical", "tied")
Line = dict[str, Any]


def main() -> None:
    """Measure, or take what was measured; print, and fill in the page where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smallest", action="store_true", help="sizes that show only that it runs")
    parser.add_argument("--out", type=Path, default=README.with_name("exactness.json"))
    parser.add_argument("--reuse", action="store_true", help="take --out, measure nothing")
    parser.add_argument("--write-readme", action="store_true", help="fill in the page's results")
    arguments = parser.parse_args()
    if arguments.smallest and arguments.out.parent == README.parent:
        raise SystemExit("--smallest makes no results for the page; give another --out")
    if not arguments.reuse:
        torch.set_num_threads(1)
        with seeded_rng(0, "exactness"):
            lines = list(measured(arguments.smallest))
        found = {"environment": environment(1), "lines": lines}
        text = json.dumps(found, indent=1, ensure_ascii=False)
        arguments.out.write_text(text + "\n", encoding="utf-8")
    results = json.loads(arguments.out.read_text(encoding="utf-8"))
    print(markdown(results))
    if arguments.write_readme:
        fill(README, markdown(results), MARKS)


def measured(smallest: bool) -> Iterator[Line]:
    """Every line of the table."""
    width = {"width": 2} if smallest else {}
    count = 200 if smallest else 20_000
    yield from divergences(width)
    yield from theirs()
    yield from without_spread(width, 2 if smallest else 8)
    yield from moments(count)
    yield from gradients(30 if smallest else 1000)
    yield from draws(width)


def line(name: str, found: float, bar: tuple[str, float] | None = None, note: str = "") -> Line:
    """A number, and what it has to be."""
    made: Line = {"name": name, "found": found, "note": note}
    if bar is not None:
        sign, bound = bar
        met = found <= bound if sign == "<=" else found >= bound
        made |= {"bar": f"{sign} {bound:g}", "met": met}
    return made


def divergences(width: dict[str, int]) -> Iterator[Line]:
    """KL of a whole network against torch's, in double precision."""
    for prior in PRIORS:
        net = to_bayesian(build_model("resnet8", SHAPE, CLASSES, width), prior=prior)
        centres = {name: g.mean.detach().clone() for name, g in posterior(net)}
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        expected = 0.0
        for name, gaussian in posterior(net):
            mean, std = gaussian.mean.double(), gaussian.std.double()
            centre = {"fixed": 0 * mean, "empirical": centres[name].double(), "tied": mean}[prior]
            reference = Normal(centre, gaussian.prior_std.double())
            expected += reference_kl(Normal(mean, std), reference).sum().item()
        relative = abs(kl_divergence(net).item() - expected) / expected
        yield line(
            f"KL of ResNet-8, prior {prior}, and the sum that `torch.distributions` has: "
            "relative difference",
            relative,
            ("<=", 1e-5),
            f"{expected:,.0f} nats",
        )


def theirs() -> Iterator[Line]:
    """How much smaller the mean of every tensor is, which bayesian-torch has."""
    try:
        made = importlib.import_module("bayesian_torch.layers").LinearReparameterization(20, 10)
    except ImportError:
        return
    total = 0.0
    for part in ("weight", "bias"):
        std = F.softplus(getattr(made, f"rho_{part}"))
        prior = Normal(getattr(made, f"prior_{part}_mu"), getattr(made, f"prior_{part}_sigma"))
        total += reference_kl(Normal(getattr(made, f"mu_{part}"), std), prior).sum().item()
    yield line(
        "KL of a layer 20 → 10: the sum over that of bayesian-torch, the mean of every tensor",
        total / made.kl_loss().item(),
    )


def without_spread(width: dict[str, int], rows: int) -> Iterator[Line]:
    """Outputs with σ = 1e-9 against those without."""
    for name in ("cnn", "resnet8"):
        plain = build_model(name, SHAPE, CLASSES, width if name == "resnet8" else {})
        x = torch.randn(rows, *SHAPE)
        for mode in (True, False):
            expected = copy.deepcopy(plain).train(mode)(x).logits
            worst = 0.0
            for method in METHODS:
                net = to_bayesian(copy.deepcopy(plain), std=1e-9, method=method).train(mode)
                difference = (net(x).logits - expected).abs().max() / expected.abs().max()
                worst = max(worst, difference.item())
            yield line(
                f"{name} with σ → 0, {'training' if mode else 'evaluation'}: largest difference "
                "to the deterministic network's logits, relative to the largest",
                worst,
                ("<=", 1e-6),
                "of all methods",
            )


def moments(count: int) -> Iterator[Line]:
    """Mean and variance of outputs over draws, against those of drawn weights in closed form."""
    layers = {
        "linear": (nn.Linear(20, 10), (1, 20)),
        "convolution": (nn.Conv2d(4, 6, 3, padding=1), (1, 4, 6, 6)),
    }
    for what, (layer, shape) in layers.items():
        x, std = torch.randn(shape), 0.2
        variances = {key: torch.full_like(value, std**2) for key, value in layer.named_parameters()}
        variance = torch.func.functional_call(layer, variances, (x.square(),)).detach()
        for method in METHODS:
            net = to_bayesian(copy.deepcopy(layer), std=std, method=method)
            with torch.no_grad():
                drawn = torch.stack([net(x) for _ in range(count)]).double()
                far = (drawn.mean(0) - layer(x)).abs() / (variance / count).sqrt()
            yield line(
                f"{what}, {method}: mean of outputs, largest distance to the exact in standard "
                "errors",
                far.max().item(),
                ("<=", 4.5),
                f"{count:,} draws",
            )
            ratio = (drawn.var(0) / variance).mean().item()
            yield line(
                f"{what}, {method}: variance of outputs over the exact, distance to 1",
                abs(ratio - 1),
                ("<=", 0.2 if count < 1000 else 0.02),
            )


def gradients(count: int) -> Iterator[Line]:
    """Variance of gradients over draws, of one batch of digits, against one draw for a batch."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.from_numpy(digits.images[:ROWS]).float().unsqueeze(1) / 16
    y = torch.from_numpy(digits.target[:ROWS])
    plain = build_model("cnn", (1, 8, 8), CLASSES, {"width": 0.25})
    spread: dict[str, tuple[Tensor, Tensor]] = {}
    for method in METHODS:
        net = to_bayesian(copy.deepcopy(plain), std=0.02, method=method).train()
        kinds = [[], []]  # type: list[list[nn.Parameter]]
        for name, parameter in net.named_parameters():
            kinds[name.endswith("_rho")].append(parameter)
        taken: list[list[Tensor]] = [[], []]
        for _ in range(count):
            grads = torch.autograd.grad(F.cross_entropy(net(x).logits, y), [*kinds[0], *kinds[1]])
            for kind, part in enumerate((grads[: len(kinds[0])], grads[len(kinds[0]) :])):
                taken[kind].append(torch.cat([grad.flatten() for grad in part]))
        of_means, of_rhos = (torch.stack(each).var(0).sum() for each in taken)
        spread[method] = of_means, of_rhos
    shared = spread["reparameterisation"]
    for method in ("flipout", "local"):
        for kind, what in enumerate(("μ", "ρ")):
            yield line(
                f"variance of the gradient by {what}, {method} over one draw for the batch",
                (spread[method][kind] / shared[kind]).item(),
                ("<=", 1) if kind == 0 else None,
                f"{ROWS} digits, cnn, {count:,} draws",
            )


def draws(width: dict[str, int]) -> Iterator[Line]:
    """S draws in one forward against the same one by one."""
    for name in ("mlp", "cnn", "resnet8"):
        given = {"mlp": {"hidden": [64, 64]}, "cnn": {}, "resnet8": width}[name]
        shape = (1, 8, 8) if name == "mlp" else SHAPE
        made = to_bayesian(build_model(name, shape, CLASSES, given), std=0.02)  # type: ignore[arg-type]
        net, x = BayesianNetwork(made).eval(), torch.randn(4, *shape)
        assert net._at_once((x,), {})
        with torch.no_grad():
            with seeded_rng(1):
                together = net(x).samples
            net._at_once = lambda *given: False  # type: ignore[method-assign]
            with seeded_rng(1):
                looped = net(x).samples
        assert together is not None and looped is not None
        yield line(
            f"{name}: logits of 20 draws in one forward and one by one, largest difference",
            (together - looped).abs().max().item(),
            ("<=", 1e-5),
        )


def markdown(results: dict[str, Any]) -> str:
    """The table of the page."""
    where = results["environment"]
    rows = []
    for each in results["lines"]:
        met = ("met" if each["met"] else "missed") if "met" in each else ""
        rows.append([each["name"], f"{each['found']:.3g}", each.get("bar", ""), met, each["note"]])
    said = f"- {where['processor']}, torch {where['torch']}, commit {where['commit']}, fp32."
    return "\n".join([said, "", *markdown_table(["what", "found", "bar", "", "of"], rows)]) + "\n"


if __name__ == "__main__":
    main()
