"""The kinds of knowledge that edges can teach: one file and one line each."""

from peerlearn.errors import InputError
from peerlearn.importing import imported
from peerlearn.transfer.knowledge.base import Knowledge
from peerlearn.transfer.knowledge.doubted_labels import DoubtedLabelKnowledge
from peerlearn.transfer.knowledge.feature_distributions import FeatureDistributionKnowledge
from peerlearn.transfer.knowledge.features import FeatureKnowledge
from peerlearn.transfer.knowledge.other_classes import OtherClassKnowledge
from peerlearn.transfer.knowledge.posteriors import PosteriorKnowledge
from peerlearn.transfer.knowledge.predictions import PredictionKnowledge
from peerlearn.transfer.knowledge.rankings import RankingKnowledge
from peerlearn.transfer.knowledge.relations import RelationKnowledge

KINDS: dict[str, type[Knowledge]] = {
    "predictions": PredictionKnowledge,
    "features": FeatureKnowledge,
    "relations": RelationKnowledge,
    "posteriors": PosteriorKnowledge,
    "feature_distributions": FeatureDistributionKnowledge,
    "other_classes": OtherClassKnowledge,
    "doubted_labels": DoubtedLabelKnowledge,
    "rankings": RankingKnowledge,
}


def kind_named(name: str, field: str) -> type[Knowledge]:
    """The class of a kind, of this package or `python:package.module:Class`.

    Raises InputError: a class that is not there, or is no `Knowledge` with `Options` of its own.
    """
    if name in KINDS:
        return KINDS[name]
    with imported(name, field, "class", "teaches a kind of knowledge") as found:
        if isinstance(found, type) and issubclass(found, Knowledge) and hasattr(found, "Options"):
            return found
    raise InputError(
        f"{field}: {name!r} is not a kind of knowledge; expected a subclass of "
        "peerlearn.transfer.Knowledge with Options, a subclass of peerlearn.transfer.EdgeOptions"
    )
