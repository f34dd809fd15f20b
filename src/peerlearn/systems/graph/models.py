"""The peers of the recipes on graphs."""

from functools import partial

from torch import Tensor, nn

from peerlearn.cohort import Cohort
from peerlearn.data.graphs import Graph, GraphInfo, GraphsDataset, NodeDataset
from peerlearn.errors import InputError
from peerlearn.models.graphs import GRAPH_MODELS, AuxiliaryNetwork
from peerlearn.models.graphs.auxiliary import sizes
from peerlearn.models.graphs.network import OperatorNetwork
from peerlearn.objectives.base import Objective
from peerlearn.randomness import seeded_rng
from peerlearn.systems.assembly import assemble, first_outputs
from peerlearn.systems.graph.config import GraphConfig, GraphsConfig, NodeConfig
from peerlearn.systems.graph.objective import MultiTask

GraphData = NodeDataset | GraphsDataset | GraphInfo


def build_graph_cohort(config: GraphConfig, data: GraphData) -> Cohort:
    """The peers of `config`, each with initial weights keyed by the seed and its name.

    Args:
        config: of the recipe.
        data: to train on; or what is known of them, for peers whose weights will be loaded.

    Raises:
        InputError: lists every peer that cannot be built and what is wrong with the edges.
    """
    objective: Objective = config.objective
    if config.auxiliary.task != "none":
        objective = MultiTask(objective, config.auxiliary.weight)
    return assemble(config, partial(_build_peer, config, data), objective)


def _build_peer(config: GraphConfig, data: GraphData, name: str) -> nn.Module:
    peer, field = config.peers[name], f"peers.{name}.model"
    with seeded_rng(config.seed, "weights", name):
        network = GRAPH_MODELS.build(
            peer.model, data.num_features, data.classes, peer.arguments, field
        )
    if isinstance(config, NodeConfig) and config.fanout is not None:
        _check_hops(network, len(config.fanout), name)
    if config.auxiliary.task == "none":
        return network
    try:
        with seeded_rng(config.seed, "auxiliary", name):
            both = AuxiliaryNetwork(
                network, isinstance(config, GraphsConfig), config.auxiliary.buckets
            )
    except InputError as error:
        raise InputError(f"{field}: {error}") from None
    if not isinstance(data, GraphInfo):
        both.divide(_training_sizes(data))
    return both


def _check_hops(network: nn.Module, hops: int, name: str) -> None:
    """A network that sees further than samples reach would compute something else on them."""
    if isinstance(network, OperatorNetwork) and network.reads_edges and network.layers > hops:
        raise InputError(
            f"fanout: {hops} hops, but peers.{name} has {network.layers} layers; give one number "
            "of neighbours for each layer"
        )


def _training_sizes(data: NodeDataset | GraphsDataset) -> Tensor:
    """What the auxiliary task is about, of all nodes or of the training graphs."""
    return sizes(data.graph) if isinstance(data, NodeDataset) else data.ptr.diff()[data.train]


def prepare(cohort: Cohort, graph: Graph, classes: int, seed: int) -> None:
    """See that every peer gives one logit per class, and make what the edges learn themselves.

    Raises:
        InputError: a peer fails on the graph, or gives another number of outputs.
    """
    what = f"a graph of {graph.num_nodes} nodes with {graph.num_features} features"
    outputs = first_outputs(cohort, graph, what)
    for name, output in outputs.items():
        found = output.logits.shape[-1]
        if found != classes:
            raise InputError(
                f"peers.{name}: gives {found} outputs; the data have {classes} classes"
            )
    with seeded_rng(seed, "transfer"):
        cohort.transfer.prepare(outputs)
