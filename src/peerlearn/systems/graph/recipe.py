"""Graph mutual learning (Agbaje et al. 2025), on the nodes of one graph and on whole graphs."""

from typing import Any

from peerlearn.systems.recipe import Recipe


def _graph_task() -> type[Any]:
    from peerlearn.tasks.graphs.task import GraphTask

    return GraphTask


def _node_task() -> type[Any]:
    from peerlearn.tasks.graphs.task import NodeTask

    return NodeTask


GML_NODE = Recipe(
    name="gml-node",
    title="Graph mutual learning, nodes",
    summary="Graph networks that teach each other to classify the nodes of one graph",
    find_task=_node_task,
    system="graph",
)
GML_GRAPH = Recipe(
    name="gml-graph",
    title="Graph mutual learning, graphs",
    summary="Graph networks that teach each other to classify graphs",
    find_task=_graph_task,
    system="graph",
)
GML_MLP = Recipe(
    name="gml-mlp",
    title="Graph mutual learning, GNN to MLP",
    summary="A cohort of graph networks teaches networks that need no edges when they serve",
    find_task=_node_task,
    system="graph",
)
