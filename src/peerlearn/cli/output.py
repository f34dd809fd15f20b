"""What runs measured, in tables and lines on stdout, and the report beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from peerlearn.cli.launch import leads
from peerlearn.cli.screen import console, table
from peerlearn.engine.description import weights_words
from peerlearn.engine.settings import EvaluationSpec
from peerlearn.errors import InputError, PeerlearnError, harmless
from peerlearn.metrics.catalogue import base_name, is_of_class
from peerlearn.metrics.confusion import by_class, matrix, without_rows
from peerlearn.report.open_edges import never_open
from peerlearn.results import Results

if TYPE_CHECKING:
    from peerlearn.systems.recipe import Recipe

DIGITS, GAP = 6, 2
"""Characters of a value, and between columns."""


def metrics_table(block: Mapping[str, Any]) -> Table:
    """Every metric of an arm of `results.json`: a row a peer, their mean, their ensemble.

    Those of single classes stay in the file: a line would not hold them.
    """
    everyone = block["peers"] | {"mean peer": block["mean_peer"], "ensemble": block["ensemble"]}
    names = [name for name in block["mean_peer"] if ":" not in name]
    across = max(map(len, everyone)) + sum(max(len(name), DIGITS) + GAP for name in names)
    if across > console().width:  # a row a metric, then: digits must not be cut off
        rows = ([name, *(_number(of, name) for of in everyone.values())] for name in names)
        return table(["", *everyone], rows, right=True)
    return table(
        ["", *names],
        ([who, *(_number(metrics, name) for name in names)] for who, metrics in everyone.items()),
        right=True,
    )


def class_table(block: Mapping[str, Any], recipe: "Recipe") -> Table:
    """Every class as the ensemble finds it: a row a class.

    Where a row has one class: how many rows it has, precision, recall, F1, and the class that it
    is taken for most often. Else the metrics that were measured of classes.

    Raises InputError: nothing was measured of classes.
    """
    if (found := block.get("confusion")) is not None:
        names, cells = found["classes"], found["of"]["ensemble"]
        counts = matrix(cells, len(names))
        rows = []
        for place, of in enumerate(by_class(cells, len(names))):
            wrong = counts[place].copy()
            wrong[place] = 0
            taken = f"{names[wrong.argmax()]} ({wrong.max():,})" if wrong.any() else "–"
            shares = ("–" if value != value else f"{value:.4f}" for value in of[:3])
            rows.append([names[place], f"{of.support:,}", *shares, taken])
        columns = ["class", "rows", "precision", "recall", "f1", "taken for"]
        return table(columns, rows, right=True)
    measured = [name for name in block["ensemble"] if is_of_class(name)]
    if not measured:
        raise InputError(f"--per-class: recipe {recipe.name!r} measures nothing of single classes")
    kinds = list(dict.fromkeys(map(base_name, measured)))
    names = list(dict.fromkeys(name.partition(":")[2] for name in measured))
    values = [[_number(block["ensemble"], f"{kind}:{name}") for kind in kinds] for name in names]
    rows = [[name, *row] for name, row in zip(names, values, strict=True)]
    return table(["class", *kinds], rows, right=True)


def untested(block: Mapping[str, Any], rows: str) -> list[str]:
    """A line with the classes that no row was measured of, if there are any.

    `rows` is what they were measured on, "test rows".
    """
    if (found := block.get("confusion")) is None:
        return []
    said = without_rows(found["of"]["ensemble"], found["classes"], rows)
    return [said] if said else []


def told_apart(block: Mapping[str, Any]) -> list[str]:
    """A line for each data set that the ensemble told from the rows reported on.

    And one for images made worse, where it was measured on such.
    """
    ensemble, lines = block["ensemble"], []
    for name in (block.get("ood") or {}).get("rows") or ():
        said = [
            f"AUROC {_number(ensemble, f'auroc{ending}:{name}')} by {words}"
            for ending, words in (("", "entropy"), ("_mi", "mutual information"))
            if f"auroc{ending}:{name}" in ensemble
        ]
        lines.append(f"out of distribution, {name}: the ensemble has {', '.join(said)}")
    if "corrupted_accuracy" in ensemble:
        kinds = ", ".join((block.get("corruption") or {}).get("kinds") or ())
        said = [
            f"{word} {_number(ensemble, f'corrupted_{name}')}"
            for name, word in (("accuracy", "accuracy"), ("nll", "NLL"), ("ece", "ECE"))
        ]
        lines.append(f"images made worse ({kinds}): the ensemble has {', '.join(said)}")
    return lines


def tell_results(results: Results, recipe: "Recipe", spec: EvaluationSpec) -> None:
    """Print what a run measured, of which rows and weights, a line a peer."""
    screen, chosen = Console(), results.get("selected") or {}
    metrics = recipe.metrics.told(results.get("metrics"))
    names = dict.fromkeys([*metrics.headlines, *metrics.brief])
    for arm, block in results["arms"].items():
        name, data = (harmless(text).replace("[", r"\[") for text in (arm, results["data"]))
        screen.print(f"[bold]{name}[/], {data}, seed {results['seeds'][0]}")
        print(measured_words(recipe, spec))
        rows = block["peers"] | {"mean peer": block["mean_peer"], "ensemble": block["ensemble"]}
        for who, found in rows.items():
            values = [f"{name} {found[name]['mean']:.4f}" for name in names if name in found]
            if known := chosen.get(who, {}):
                of = f" of {known['of']}" if "of" in known else ""
                values.append(f"epoch {known['epoch']}{of}")
            line = f"  {harmless(who):<10} {'  '.join(values)}"
            screen.print(line, highlight=False, soft_wrap=True, markup=False)
        for line in [*untested(block, recipe.task.pages.rows), *told_apart(block)]:
            screen.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
        if shut := never_open(block.get("open_edges") or {}):
            print(f"  {shut}")


def measured_words(recipe: "Recipe", spec: EvaluationSpec) -> str:
    """The rows and the weights that numbers are of: `on TEST rows; weights of the last epoch`."""
    rows = recipe.task.pages.rows.replace("test", "TEST")
    if spec.report == "val+test":
        rows = "validation and TEST rows"
    return f"on {rows}; {weights_words(spec)}"


def _number(metrics: Mapping[str, Any], name: str) -> str:
    mean = metrics.get(name, {}).get("mean")
    return "–" if mean is None else f"{mean:.4f}"


def tell_shipping(results: Results, recipe: "Recipe", folder: Path) -> None:
    """Print which network to use, and what to type next; see `peerlearn.report.shipping`."""
    from peerlearn.report.shipping import shipping_of

    metrics = recipe.metrics.told(results.get("metrics"))
    said = shipping_of(results, metrics, str(folder), recipe.task.pages)
    for line in said.lines() if said is not None else ():
        print(harmless(line))


def report_beside(folder: Path, brief: bool = False) -> None:
    """Write `report.html`, `brief` as in `write_report`, into `folder`, or say what it needs."""
    from peerlearn.compare.report import write_report

    if not leads():
        return
    stderr = Console(stderr=True, highlight=False)
    try:
        stderr.print(f"report: {write_report([folder], folder / 'report.html', brief)}")
    except (PeerlearnError, OSError) as error:
        stderr.print(f"results: {folder / 'results.json'} (no report: {error})")
