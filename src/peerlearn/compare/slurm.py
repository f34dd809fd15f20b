"""A comparison as an array of Slurm jobs, by Slurm's own commands.

Every task of the array is a worker on the comparison's folder, which all nodes share. Options are
those of sbatch(1). Slurm sends a signal some time before the time limit; the worker then saves and
ends with status 75, and the task is put back into the queue, where that was asked for.
"""

import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peerlearn.engine.interruption import UNFINISHED
from peerlearn.errors import InputError, RunError
from peerlearn.files import read_json, write_json, write_text
from peerlearn.json_shapes import TEXT, WHOLE, check_shape

NOTICE = 120
"""Seconds before the time limit at which the signal comes; Slurm may send it a minute earlier."""
JOB = "slurm.json"
"""File of the array that was submitted last."""

SCRIPT = """\
#!/bin/bash
{options}
# Every task is a worker: it trains cells that are free until none is, and the last one that works
# writes the results. `peerlearn status` says where the cells are.
cd {place} || exit 1
asked=
# Set before the worker starts, or an early signal would end this script and leave the worker.
trap 'asked=yes; kill -USR1 "$!"' USR1
trap 'kill -TERM "$!"' TERM
{command} &
wait "$!"
status=$?
while kill -0 "$!" 2>/dev/null; do  # a signal has ended the wait, and the worker saves
    wait "$!"
    status=$?
done
{after}exit "$status"
"""
REQUEUE = """\
# 138: the signal found a worker that had only begun to start.
if [ "$asked" ] && {{ [ "$status" = {unfinished} ] || [ "$status" = 138 ]; }}; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
"""


@dataclass(frozen=True)
class Array:
    """What is asked of Slurm.

    Attributes:
        name: of the recipe.
        tasks: workers that are started.
        partition, time, gres: as sbatch takes them.
        requeue: put a task that met its time limit back into the queue.
        further: options of sbatch as they are typed, such as `--mem=8G`.
    """

    name: str
    tasks: int
    partition: str | None = None
    time: str | None = None
    gres: str | None = None
    requeue: bool = False
    further: Sequence[str] = ()

    def script(self, command: Sequence[str], place: Path, out: Path) -> str:
        """The script of every task: `command` started in `place`, logs beside it in `out`.

        Raises InputError: a value that the script cannot hold, or no task.
        """
        if self.tasks < 1:
            raise InputError(f"--tasks: {self.tasks}; allowed: 1 or more")
        logs = str(out.absolute() / "slurm" / "%A_%a.log")
        if set(str(out.absolute())) & set('%"\\\n'):
            raise InputError(f'--out {out}: sbatch reads % " and \\ in a name; choose another')
        given = {"--partition": self.partition, "--time": self.time, "--gres": self.gres}
        lines = [f"--job-name=peerlearn-{self.name}", f"--array=0-{self.tasks - 1}"]
        lines += [f'--output="{logs}"', "--open-mode=append", f"--signal=B:USR1@{NOTICE}"]
        lines += [f"{option}={value}" for option, value in given.items() if value is not None]
        lines += ["--requeue"] if self.requeue else []
        for value in (*given.values(), *self.further):
            if value is not None and (not value.strip() or "\n" in value):
                raise InputError(f"--slurm: {value!r} is no value of an option of sbatch")
        for option in self.further:
            if not option.startswith("-"):
                raise InputError(f"--sbatch: {option!r}; expected an option such as --mem=8G")
        return SCRIPT.format(
            options="\n".join(f"#SBATCH {line}" for line in (*lines, *self.further)),
            place=shlex.quote(str(place)),
            command=shlex.join(command),
            after=REQUEUE.format(unfinished=UNFINISHED) if self.requeue else "",
        )


def script_of(array: Array, command: Sequence[str], out: Path) -> str:
    """The script of an array that can be submitted here.

    Raises InputError: it cannot, or as `Array.script`.
    """
    text = array.script(command, Path.cwd(), out)
    if shutil.which("sbatch") is None:
        raise InputError("--slurm: no sbatch here; type it where jobs are submitted")
    return text


def submit(array: Array, script: str, out: Path) -> str:
    """Write the script into a comparison's folder and submit it; the number of the job.

    Raises InputError: sbatch refuses what was asked for; in its own words.
    """
    path = out / "slurm" / "array.sh"
    write_text(path, script)
    try:
        done = _asked("sbatch", "--parsable", str(path))
    except RunError as error:
        raise InputError(f"--slurm: {error}") from None
    job = done.strip().partition(";")[0]  # with the cluster's name behind it, where there are many
    if not (job.isascii() and job.isdigit()):
        raise RunError(f"sbatch: said {done.strip()!r} in place of the number of a job")
    write_json(out / JOB, {"job": job, "tasks": array.tasks})
    return job


def queued(out: Path) -> str:
    """How the tasks of the last array stand, in words; empty where there is none, or no squeue.

    Raises InputError: the file that says which it is is damaged.
    """
    path = out / JOB
    if not path.exists() or shutil.which("squeue") is None:
        return ""
    said = read_json(path)
    check_shape(said, {"job": TEXT, "tasks": WHOLE}, path, "the file")
    try:
        lines = _asked("squeue", "--noheader", "--array", "--format=%T", f"--jobs={said['job']}")
    except RunError:  # of a job that ended some time ago: invalid job id
        lines = ""
    counts = Counter(line.strip().lower() for line in lines.splitlines() if line.strip())
    tasks = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    return f"Slurm job {said['job']}: {tasks or 'no task is in the queue'}"


def _asked(*command: str) -> str:
    """What a command of Slurm answers. Raises RunError: it fails; in its own words."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{command[0]}: {error}") from error
    if done.returncode:
        said = _text(done.stderr).strip().splitlines() or [f"ended with status {done.returncode}"]
        raise RunError(f"{command[0]}: {said[-1]}")
    return _text(done.stdout)


def _text(said: bytes) -> str:
    """In whatever locale a command speaks."""
    return said.decode("utf-8", "replace")
