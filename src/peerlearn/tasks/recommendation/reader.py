"""How a finished recommender reads users, whom it knows by their ids."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from peerlearn.engine.evaluate import Rows
from peerlearn.errors import InputError
from peerlearn.reading.predictions import Inputs
from peerlearn.reading.reader import Reader
from peerlearn.tasks.recommendation.data.info import RecommendationInfo


class RecommendationReader(Reader[RecommendationInfo]):
    """A recommender reads no rows: it knows users and items by their ids; see `newcomers`."""

    info_type = RecommendationInfo
    unit = "interaction"
    steps = "users"

    def test_rows(self, name: str) -> Rows:
        raise InputError(
            f"--data {name}: a recommender ranks items for the users of its own data, "
            f"{self.info.content} of {self.info.name!r}; leave --data out"
        )

    def inputs(self, paths: Sequence[Path], peers: Mapping[str, nn.Module]) -> list[Inputs]:
        raise InputError(
            "predict: a recommender reads users by their ids; type "
            "peerlearn recommend RUN --user ID, or see systems/music for Python"
        )
