"""Fill the tables of the benchmark pages from their result files.

    python benchmarks/write_tables.py            # rewrite
    python benchmarks/write_tables.py --check    # exit 1 where a page and its results disagree

A page asks for a table with a pair of lines; the path is relative to the page:

    <!-- table: cifar10-resnets.json -->
    <!-- end -->

`peers:` in place of `table:` asks for the accuracy of every peer by itself, `grid:` for the
order × weight tables of the Rényi benchmark, `questions:` with several files, put apart by commas,
for the differences that say what is asked on all of them, `few:` with several files for what few
labels gain on all of them, `counts:` for estimates of how many new classes there are, `asked:`
and `outside:` for the two tables of the Bayesian page beside the comparison, `bars:`, `chosen:`,
`missing:`, `newcomers:` and `against:` for those of the page on music, `startup:`, `large:` and
`jobs:` for what is waited for, and `attacks:`, `defences:`, `rivals:` and `shares:` with a file for
each attack, `purified:` and `suspicion:` for those of the page on backdoors. Where a file is not
there the page says so. Pages in `docs/` have `cases:`, `exchanges:` and `bytes:` of peers in
processes, `staleness:` and `lost:` of snapshots.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the folder that `benchmarks` is in

from benchmarks.backdoor.suspicion import suspicion_markdown
from benchmarks.backdoor.tables import (
    attacks_markdown,
    defences_markdown,
    purified_markdown,
    rivals_markdown,
    shares_markdown,
)
from benchmarks.bayesian.tables import asked_markdown, outside_markdown
from benchmarks.discovery.class_count import counts_markdown
from benchmarks.discovery.questions import DISCOVERY
from benchmarks.faults.lost_peers import lost_markdown
from benchmarks.few_labels import few_labels_markdown
from benchmarks.music.against import against_markdown
from benchmarks.music.bars import bars_markdown
from benchmarks.music.choose import chosen_markdown
from benchmarks.music.missing import missing_markdown
from benchmarks.music.newcomers import newcomers_markdown
from benchmarks.questions import questions_markdown
from benchmarks.renyi.grid import grid_markdown
from benchmarks.speed.jobs import jobs_markdown
from benchmarks.speed.large import large_markdown
from benchmarks.speed.processes import bytes_markdown, cases_markdown, exchanges_markdown
from benchmarks.speed.staleness import staleness_markdown
from benchmarks.speed.startup import startup_markdown
from benchmarks.styles.questions import STYLES
from peerlearn.report.terminal import markdown_table
from peerlearn.results import Results
from peerlearn.systems.registry import RECIPES

HERE = Path(__file__).parent


def peers_markdown(results: dict[str, Any]) -> str:
    """Accuracy of every peer in every arm, in percent, with its difference to the reference."""
    differences = {
        (entry["arm"], entry["who"]): entry
        for entry in results["differences"]
        if entry["metric"] == "accuracy"
    }
    peers = list(next(iter(results["arms"].values()))["peers"])
    lines = [["arm", *(f"{peer} accuracy %" for peer in peers)], ["---"] + ["---:"] * len(peers)]
    for arm, block in results["arms"].items():
        cells = []
        for peer in peers:
            metric = block["peers"][peer]["accuracy"]
            cells.append(f"{100 * metric['mean']:.2f} ± {100 * metric['std']:.2f}")
            if entry := differences.get((arm, peer)):
                low, high = (100 * end for end in entry["ci95"] or (0, 0))
                cells[-1] += f"<br>{100 * entry['mean']:+.2f}"
                cells[-1] += f" [{low:+.2f}, {high:+.2f}]" if low < high else ""
        lines.append([arm, *cells])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    seeds = len(results["seeds"])
    paired = "differences are paired by seed, with 95 % intervals over seeds only"
    return f"{rows}\n\nn = {seeds} seeds; {paired}; single peers are not tested.\n"


def comparison_markdown(results: Results) -> str:
    """Every arm with its differences to the reference."""
    return markdown_table(results, RECIPES[results["recipe"]].metrics)


MAKERS: dict[str, Callable[..., str]] = {
    "table": comparison_markdown,
    "peers": peers_markdown,
    "grid": grid_markdown,
    "counts": counts_markdown,
    "asked": asked_markdown,
    "outside": outside_markdown,
    "cases": cases_markdown,
    "exchanges": exchanges_markdown,
    "bytes": bytes_markdown,
    "startup": startup_markdown,
    "jobs": jobs_markdown,
    "large": large_markdown,
    "staleness": staleness_markdown,
    "lost": lost_markdown,
    "bars": bars_markdown,
    "chosen": chosen_markdown,
    "missing": missing_markdown,
    "newcomers": newcomers_markdown,
    "against": against_markdown,
    "purified": purified_markdown,
    "suspicion": suspicion_markdown,
}
#: Of tables over several files, which are known by their names.
OF_NAMED: dict[str, Callable[[dict[str, Any]], str]] = {
    "few": few_labels_markdown,
    "attacks": attacks_markdown,
    "defences": defences_markdown,
    "rivals": rivals_markdown,
    "shares": shares_markdown,
}
#: By folder of a page.
QUESTIONS = {"discovery": DISCOVERY, "styles": STYLES}
SLOT = re.compile(
    rf"(<!-- (?P<kind>{'|'.join((*MAKERS, *OF_NAMED, 'questions'))}): (?P<file>\S+) -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)


def origin(results: Sequence[Any]) -> str:
    """A line about what made the results of a table; files of one maker are told once."""
    said = []
    for one in results:
        sections = [one, *one.values()] if isinstance(one, dict) else []
        if parts := [part for part in sections if isinstance(part, dict) and "environment" in part]:
            said += [_measured(part["environment"]) for part in parts]
            continue
        makers = one.get("made_by") or [{}] if isinstance(one, dict) else [{}]
        said += [_maker(entry) for entry in makers]
    return f"<sub>{'; '.join(dict.fromkeys(said))}.</sub>"


def _maker(entry: Mapping[str, Any]) -> str:
    if not entry.get("processor"):
        return "Commit and processor unknown: made before result files said so"
    commit, changed = entry.get("commit"), " with changed files" if entry.get("dirty") else ""
    at = f"commit {commit}{changed}" if commit else f"peerlearn {entry.get('peerlearn')}"
    device = entry.get("device", "cpu")
    return f"Made at {at} on {entry['processor']}" + ("" if device == "cpu" else f", {device}")


def _measured(environment: Mapping[str, Any]) -> str:
    load, cores = environment["load_average"][0], environment["processors"]
    busy = f"{cores} processors, load average {load:.1f} at the beginning"
    return f"Made at commit {environment['commit']} on {environment['processor']}, {busy}"


def pages() -> list[Path]:
    """The pages with tables."""
    return sorted([*HERE.rglob("*/README.md"), *(HERE.parent / "docs").glob("*.md")])


def filled(page: Path) -> str:
    """The text of `page` with every table made from its result files.

    Tables over several named files are of those that are there; the others are listed above.
    """

    def table(slot: re.Match[str]) -> str:
        paths = [page.parent / name for name in slot["file"].split(",")]
        maker = OF_NAMED.get(slot["kind"])
        there, note = [path for path in paths if path.exists()], ""
        if missing := [path.name for path in paths if path not in there]:
            note = f"Not measured yet: {', '.join(missing)}.\n\n"
            if not there or maker is None:
                return f"{slot[1]}\n{note}{slot[4]}"
        results = [json.loads(path.read_text(encoding="utf-8")) for path in there]
        if maker is not None:
            made = maker({path.stem: each for path, each in zip(there, results, strict=True)})
        elif slot["kind"] == "questions":
            made = questions_markdown(QUESTIONS[page.parent.name], *results)
        else:
            made = MAKERS[slot["kind"]](*results)
        return f"{slot[1]}\n{note}{made}\n{origin(results)}\n\n{slot[4]}"

    return SLOT.sub(table, page.read_text(encoding="utf-8"))


def main() -> int:
    """Rewrite or check every page."""
    check = "--check" in sys.argv[1:]
    stale = []
    for page in pages():
        text = filled(page)
        if text != page.read_text(encoding="utf-8"):
            stale.append(page.parent.name if page.name == "README.md" else page.name)
            if not check:
                page.write_text(text, encoding="utf-8")
    print(f"{'stale' if check else 'rewritten'}: {', '.join(stale) or 'none'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
