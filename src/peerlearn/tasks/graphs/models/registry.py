"""Graph networks by name; each is called with a `Graph`."""

from typing import Any

from peerlearn.models.arguments import check_count
from peerlearn.models.registry import Models
from peerlearn.tasks.graphs.models.gat import gat
from peerlearn.tasks.graphs.models.gcn import gcn
from peerlearn.tasks.graphs.models.gin import gin
from peerlearn.tasks.graphs.models.graph_mlp import graph_mlp
from peerlearn.tasks.graphs.models.sage import sage


def _check_sample(features: Any, model: str, field: str) -> int:
    return check_count("features", features, field)


GRAPH_MODELS = Models(gcn, gat, sage, gin, graph_mlp, sample="features", check_sample=_check_sample)
