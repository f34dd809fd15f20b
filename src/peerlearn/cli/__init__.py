"""The command line. Verbs import what they need when they run: `--help` never imports torch."""

import sys
from typing import Annotated

import typer

from peerlearn.cli import (
    attack,
    discover,
    grids,
    launch,
    ls,
    purify,
    recommend,
    run,
    serve,
    validate,
)
from peerlearn.cli.stopping import interruptible
from peerlearn.cli.streams import closed_early, let_streams_write_anything, outlive_readers
from peerlearn.engine.interruption import interrupt_at_once
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
    app.command()(interruptible(verb))
app.command("eval")(interruptible(serve.evaluate))
app.command()(interruptible(serve.predict))
app.command()(interruptible(serve.export))
app.command()(interruptible(grids.status))
app.command()(interruptible(run.report))
app.command()(interruptible(attack.attack))
app.command()(interruptible(purify.purify))
app.command()(interruptible(recommend.recommend))
app.add_typer(ls.data, name="data")
for command in ls.data.registered_commands:
    if command.callback is not None:
        command.callback = interruptible(command.callback)


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
    """Run the verb.

    Exit status: 0 done, 1 a failed run, 2 bad usage or input, 130 interrupted by Ctrl-C, 75 stopped
    by another signal and not finished, 141 where the reader of stdout went away.
    """
    interrupt_at_once()
    outlive_readers()
    let_streams_write_anything()
    launch.be_silent_unless_first()
    try:
        app(standalone_mode=True)
    except SystemExit as done:
        if not done.code and closed_early():
            raise SystemExit(141) from None
        raise
    except (PeerlearnError, OSError) as error:
        launch.complain(error, isinstance(error, InputError))
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None
    except Exception:  # a fault of ours, whichever process met it
        sys.stderr = sys.__stderr__
        raise
