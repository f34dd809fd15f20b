"""torch-geometric's side: the same networks, trained one after the other as its examples do it.

Dense features, dropout on them, two convolutions, cross-entropy on the training mask, Adam. What
its documentation offers beyond that to be faster is an option: cached normalisation, and a sparse
adjacency matrix in place of the list of edges.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GATConv, GCNConv, SAGEConv
from torch_geometric.transforms import ToSparseTensor

from benchmarks.graph.peers import ADAM, LR, Network, Peers
from benchmarks.speed.timing import Work
from peerlearn.tasks.graphs.data.datasets import NodeDataset


class TwoLayers(nn.Module):
    """Dropout, convolution, activation, dropout, convolution."""

    def __init__(
        self,
        first: nn.Module,
        second: nn.Module,
        activation: Callable[[Tensor], Tensor],
        dropout: float,
        input_dropout: float,
    ) -> None:
        super().__init__()
        self.conv1, self.conv2 = first, second
        self.activation = activation
        self.dropout, self.input_dropout = dropout, input_dropout

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        if self.input_dropout:
            x = F.dropout(x, self.input_dropout, training=self.training)
        x = self.activation(self.conv1(x, edges))
        x = F.dropout(x, self.dropout, training=self.training)
        return self.conv2(x, edges)


def epoch_of(
    peers: Peers,
    data: NodeDataset,
    *,
    cached: bool = False,
    adjacency: bool = False,
    test: bool = False,
    epochs: int = 1,
) -> Work:
    """`epochs` epochs of every network, one network after the other.

    Args:
        cached: let GCN layers keep the normalised edges of the first forward.
        adjacency: pass the transposed adjacency matrix (sparse CSR) rather than the edges.
        test: measure accuracy on all three splits after every epoch.
    """
    graph = _data(data)
    edges = graph.edge_index
    if adjacency:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")
            edges = ToSparseTensor(layout=torch.sparse_csr)(graph.clone()).adj_t
    nets = [_build(network, data, cached) for network in peers.values()]
    optimisers = [torch.optim.Adam(net.parameters(), lr=LR, **ADAM) for net in nets]

    def run() -> None:
        for net, optimiser in zip(nets, optimisers, strict=True):
            for _ in range(epochs):
                _train(net, optimiser, graph, edges)
                if test:
                    _test(net, graph, edges)

    return run


def parameters(peers: Peers, data: NodeDataset) -> int:
    """Number of weights of all networks."""
    nets = nn.ModuleList(_build(network, data, cached=False) for network in peers.values())
    return sum(p.numel() for p in nets.parameters())


def _train(net: nn.Module, optimiser: torch.optim.Optimizer, graph: Data, edges: Tensor) -> None:
    net.train()
    optimiser.zero_grad()
    logits = net(graph.x, edges)
    F.cross_entropy(logits[graph.train_mask], graph.y[graph.train_mask]).backward()
    optimiser.step()


@torch.no_grad()
def _test(net: nn.Module, graph: Data, edges: Tensor) -> list[float]:
    net.eval()
    right = net(graph.x, edges).argmax(dim=1) == graph.y
    masks = (graph.train_mask, graph.val_mask, graph.test_mask)
    return [float(right[mask].float().mean()) for mask in masks]


def _data(data: NodeDataset) -> Data:
    masks = {}
    for part in ("train", "val", "test"):
        masks[f"{part}_mask"] = torch.zeros(len(data.y), dtype=torch.bool)
        masks[f"{part}_mask"][data.members(part)] = True
    x = data.graph.x.to_dense() if data.graph.sparse_features else data.graph.x
    return Data(x=x, edge_index=data.graph.edge_index, y=data.y, **masks)


def _build(network: Network, data: NodeDataset, cached: bool) -> TwoLayers:
    return BUILDERS[network.model](data.num_features, data.classes, network.arguments, cached)


def _gcn(features: int, classes: int, given: Mapping[str, Any], cached: bool) -> TwoLayers:
    first = GCNConv(features, given["hidden"], cached=cached)
    second = GCNConv(given["hidden"], classes, cached=cached)
    return TwoLayers(first, second, F.relu, given["dropout"], given["input_dropout"])


def _gat(features: int, classes: int, given: Mapping[str, Any], cached: bool) -> TwoLayers:
    hidden, heads, rate = given["hidden"], given["heads"], given["attention_dropout"]
    first = GATConv(features, hidden, heads=heads, dropout=rate)
    second = GATConv(hidden * heads, classes, heads=1, concat=False, dropout=rate)
    return TwoLayers(first, second, F.elu, given["dropout"], given["input_dropout"])


def _sage(features: int, classes: int, given: Mapping[str, Any], cached: bool) -> TwoLayers:
    first, second = SAGEConv(features, given["hidden"]), SAGEConv(given["hidden"], classes)
    return TwoLayers(first, second, F.relu, given["dropout"], given["input_dropout"])


BUILDERS: dict[str, Callable[[int, int, Mapping[str, Any], bool], TwoLayers]] = {
    "gcn": _gcn,
    "gat": _gat,
    "sage": _sage,
}
