"""The report that `run` and `compare` leave in their folder."""

from pathlib import Path

from rich.console import Console

from peerlearn.errors import PeerlearnError


def report_beside(folder: Path) -> None:
    """Write `report.html` into `folder`, or say which extra it needs."""
    from peerlearn.compare.report import write_report

    console = Console(stderr=True, highlight=False)
    try:
        console.print(f"report: {write_report([folder], folder / 'report.html')}")
    except (PeerlearnError, OSError) as error:
        console.print(f"results: {folder / 'results.json'} (no report: {error})")
