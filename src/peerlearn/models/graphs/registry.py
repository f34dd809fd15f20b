"""Graph networks by name; each is called with a `Graph`."""

from typing import Any

from peerlearn.models.arguments import check_count
from peerlearn.models.graphs.gat import gat
from peerlearn.models.graphs.gcn import gcn
from peerlearn.models.graphs.gin import gin
from peerlearn.models.graphs.graph_mlp import graph_mlp
from peerlearn.models.graphs.sage import sage
from peerlearn.models.registry import Models


def _check_sample(features: Any, model: str, field: str) -> int:
    return check_count("features", features, field)


GRAPH_MODELS = Models(gcn, gat, sage, gin, graph_mlp, sample="features", check_sample=_check_sample)
