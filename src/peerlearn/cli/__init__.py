"""The command line. Verbs import what they need when they run: `--help` never imports torch."""

import sys
from typing import Annotated

import typer

from peerlearn.cli import discover, ls, run, serve, validate
from peerlearn.cli.streams import let_streams_write_anything
from peerlearn.errors import InputError, PeerlearnError

app = typer.Typer(
    name="peerlearn",
    help="Deep mutual learning: networks that train side by side and teach each other.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (ls.ls, ls.cp, validate.validate, run.run, run.compare, discover.discover):
    app.command()(verb)
app.command("eval")(serve.evaluate)
app.command()(serve.predict)
app.command()(serve.export)
app.command()(run.report)
app.add_typer(ls.data, name="data")


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
    let_streams_write_anything()
    try:
        app(standalone_mode=True)
    except (PeerlearnError, OSError) as error:
        print(f"peerlearn: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
