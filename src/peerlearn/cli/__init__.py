"""The command line. Verbs import what they need when they run: `--help` never imports torch."""

import sys
from typing import Annotated

import typer

from peerlearn.cli import compare, cp, data, discover, evaluate, ls, predict, report, run, validate
from peerlearn.errors import InputError, PeerlearnError

app = typer.Typer(
    name="peerlearn",
    help="Deep mutual learning: networks that train side by side and teach each other.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(ls.ls)
app.command()(cp.cp)
app.command()(validate.validate)
app.command()(run.run)
app.command()(compare.compare)
app.command()(discover.discover)
app.command("eval")(evaluate.evaluate)
app.command()(predict.predict)
app.command()(report.report)
app.add_typer(data.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        from peerlearn import __version__

        print(f"peerlearn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """What holds for every verb."""


def main() -> None:
    """Run the verb; exit 0 done, 1 a failed run, 2 bad usage or input, 130 interrupted."""
    try:
        app(standalone_mode=True)
    except InputError as error:
        fail(error, 2)
    except (PeerlearnError, OSError) as error:
        fail(error, 1)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def fail(error: Exception, status: int) -> None:
    """Say what is wrong on stderr and leave with `status`."""
    print(f"peerlearn: {error}", file=sys.stderr)
    raise SystemExit(status)
