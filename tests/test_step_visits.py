"""A training step stays in few files."""

from step_visits import step_visits

#: What a step of dml may go through: lower it with every file that a step gets rid of.
FILES = 10


def test_a_step_goes_through_few_files() -> None:
    visits = step_visits("dml")
    assert "cohort.py" in visits.files and visits.moves > 0
    assert len(visits.files) <= FILES, "\n".join(visits.files)
