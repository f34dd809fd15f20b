"""What `peerlearn.fit` trains, as a recipe that its run folders name."""

from peerlearn.systems.recipe import Recipe
from peerlearn.tasks.classification.given import GivenTask

FIT = Recipe(
    name="fit",
    title="A cohort of one's own",
    summary="networks that were made in Python, trained by peerlearn.fit",
    task=GivenTask,
)
