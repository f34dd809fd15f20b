"""Runs that are continued with more epochs than they were started with.

The schedules of learning rate, edges and augmentation are then those of the new length from where
the run goes on. So the result equals that of an uninterrupted run of the new length only where
nothing follows a schedule: `lr_schedule: constant` without warm-up, and edges without one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peerlearn.errors import InputError
from peerlearn.files import read_text

#: By the key of a configuration, the number of epochs before and now.
Growth = Mapping[str, tuple[int, int]]


def grown_epochs(before: Mapping[str, Any], now: Mapping[str, Any]) -> Growth:
    """Numbers of epochs, of the last stage or of `stages.NAME`, that have become more.

    A stage without epochs is none: it cannot come into being.
    """
    return {
        key: (before[key], now[key])
        for key in before.keys() & now.keys()
        if (key == "epochs" or (key.startswith("stages.") and key.endswith(".epochs")))
        and all(type(each[key]) is int for each in (before, now))
        and 0 < before[key] < now[key]
    }


def check_growth(grown: Growth, metrics: Path) -> None:
    """See that no stage grows that others have gone on from.

    Args:
        metrics: `metrics.jsonl` of the run.

    Raises InputError: names the stage.
    """
    over = set()
    for line in read_text(metrics).splitlines() if metrics.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:  # a killed run leaves its last line unfinished
            continue
        if not isinstance(record, dict) or record.get("event") != "epoch":
            continue
        try:
            if record["epoch"] >= record["of"] or "stopped" in record:
                over.add(record["stage"])
        except (KeyError, TypeError):
            raise InputError(f"{metrics}: not the record of an epoch: {line[:80]}") from None
    for key, (before, now) in grown.items():
        stage = key.removeprefix("stages.").removesuffix(".epochs")
        if key != "epochs" and stage in over:
            raise InputError(
                f"{key}: was {before}, now {now}, but stage {stage!r} is over; only the last one "
                "(epochs) and those to come can still get more"
            )


def growth_note(grown: Growth) -> str:
    """What to tell of it."""
    lengths = "; ".join(f"{key}: {before} became {now}" for key, (before, now) in grown.items())
    return (
        f"{lengths}. From here on learning rate and edges follow the schedule of the new length, "
        "so unless both are constant the results are not those of one uninterrupted run"
    )
