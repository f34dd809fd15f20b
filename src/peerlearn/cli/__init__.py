"""The command line. Verbs import what they need when they run: `--help` never imports torch."""

import sys

import typer

from peerlearn.cli import compare, run
from peerlearn.errors import InputError, PeerlearnError

app = typer.Typer(
    name="peerlearn",
    help="Deep mutual learning: networks that train side by side and teach each other.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (run.run, compare.compare):
    app.command()(verb)


def main() -> None:
    """Run the verb; exit 0 done, 1 a failed run, 2 bad usage or input, 130 interrupted."""
    try:
        app(standalone_mode=True)
    except InputError as error:
        fail(error, 2)
    except PeerlearnError as error:
        fail(error, 1)
    except KeyboardInterrupt:
        print("interrupted; what was saved continues with --resume", file=sys.stderr)
        raise SystemExit(130) from None


def fail(error: Exception, status: int) -> None:
    """Say what is wrong on stderr and leave with `status`."""
    print(f"peerlearn: {error}", file=sys.stderr)
    raise SystemExit(status)
