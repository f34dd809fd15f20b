"""What `peerlearn.fit` trains, as a recipe that its run folders name."""

from typing import Any

from peerlearn.systems.recipe import Recipe


def _given_task() -> type[Any]:
    from peerlearn.tasks.classification.given import GivenTask

    return GivenTask


FIT = Recipe(
    name="fit",
    title="A cohort of one's own",
    summary="networks that were made in Python, trained by peerlearn.fit",
    find_task=_given_task,
)
