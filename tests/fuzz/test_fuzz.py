"""Odd input works or is refused with a message: a few cases of every kind, and those that did not.

`benchmarks/faults/fuzz.py` tries many more.
"""

from random import Random

import pytest
from found import FOUND
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.faults.fuzzing.case import Case
from benchmarks.faults.fuzzing.judge import judged
from benchmarks.faults.fuzzing.kinds import KINDS

#: How many are tried of kinds that take more than a few milliseconds each.
FEW = {
    "new rows": 6, "loose images": 6, "run folder": 4, "resumed run": 1, "command line": 4,
    "names": 2, "training": 2,
}  # fmt: skip
MANY = 15


def holds(case: Case) -> None:
    """Nothing but work or a refusal; hypothesis then looks for the smallest case that fails."""
    verdict = judged(case)
    assert verdict.status != "fault", f"{' '.join(case.words)}\n{verdict.what}"


@pytest.mark.parametrize("kind", KINDS)
def test_odd_input_works_or_is_refused(kind: str) -> None:
    quick = settings(
        max_examples=FEW.get(kind, MANY), derandomize=True, database=None, deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    @quick
    @given(st.randoms(use_true_random=False))
    def tried(draw: Random) -> None:
        holds(KINDS[kind].make(draw))

    tried()


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_once_stays_mended(name: str) -> None:
    case, expected = FOUND[name]
    verdict = judged(case)
    assert verdict.status == "refused", f"{verdict.status}: {verdict.what}"
    assert expected in verdict.what
