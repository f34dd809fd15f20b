"""`peerlearn report`: folders of runs as one page."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Run or compare folders.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(help="The HTML file to write.", show_default="report.html")
    ] = Path("report.html"),
) -> None:
    """Write one self-contained HTML report of run and compare folders."""
    from peerlearn.compare.report import write_report
    from peerlearn.errors import InputError

    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {out}: a report ends in .html")
    print(write_report(folders, out))
