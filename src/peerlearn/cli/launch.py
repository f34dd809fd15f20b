"""Processes that `torchrun` starts together: one of them speaks.

What it sets in the environment is read here too, so that the command line need not import torch.
"""

import os
import sys
from pathlib import Path

from peerlearn.launched import launched_together


def leads() -> bool:
    """Whether this is the only one, or the first."""
    return int(os.environ.get("RANK", "0")) == 0


def be_silent_unless_first() -> None:
    """From now on only the first process prints anything; see `complain`."""
    if not leads():
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


def complain(error: Exception, everywhere: bool) -> None:
    """Print why a verb failed: once a machine what fails `everywhere` alike, else who it was."""
    from peerlearn.errors import harmless

    said = harmless(str(error))  # names in it may be a stranger's, and reach for the terminal
    if leads():
        print(f"peerlearn: {said}", file=sys.stderr)
    elif not everywhere or os.environ.get("LOCAL_RANK") == "0":
        print(f"peerlearn: process {os.environ['RANK']}: {said}", file=sys.__stderr__)


def refuse_to_compare() -> None:
    """InputError where `torchrun` starts a comparison: its cells need no process of another."""
    if launched_together() > 1:
        from peerlearn.errors import InputError

        raise InputError(
            f"compare: {launched_together()} processes were started together, which would wait for "
            "each other at every step of every cell. A comparison shares out whole cells instead: "
            "leave torchrun out, and say --jobs N on one machine, or give the same command with "
            "--worker and one --out DIR to as many processes or machines as there are. To spread "
            "the peers of one cell: torchrun … -m peerlearn run RECIPE arm=NAME --seed N --out DIR"
        )


def command() -> list[str]:
    """What a command line begins with, to be started as this process was."""
    if launched_together() == 1:
        return ["peerlearn"]
    here = os.environ.get("LOCAL_WORLD_SIZE", str(launched_together()))
    return ["torchrun", "--nproc-per-node", here, "-m", "peerlearn"]
