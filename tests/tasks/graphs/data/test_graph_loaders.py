from collections import Counter

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.objectives.labels import UNLABELLED
from peerlearn.tasks.graphs.data import Graph
from peerlearn.tasks.graphs.data.datasets import GraphsDataset, NodeDataset
from peerlearn.tasks.graphs.data.loaders import (
    GraphBatchLoader,
    NodeLoader,
    SampledLoader,
    graph_rows,
    node_rows,
    sampled_node_rows,
)

NODES, GRAPHS = 60, 23


def node_data():
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(0, NODES, (2, 300), generator=generator).unique(dim=1)
    graph = Graph(torch.randn(NODES, 4, generator=generator), ends)
    y = torch.arange(NODES) % 3
    y[50:] = UNLABELLED
    return NodeDataset(
        "toy", graph, y, torch.arange(0, 22), torch.arange(22, 30), torch.arange(30, 50), 3
    )


def graphs_data(unlabelled=0):
    """Graphs of 1 to 5 nodes, each a directed ring; feature 0 is the graph, feature 1 the place."""
    sizes = torch.arange(GRAPHS) % 5 + 1
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    graph_of = torch.arange(GRAPHS).repeat_interleave(sizes)
    place = torch.arange(int(ptr[-1])) - ptr[graph_of]
    following = ptr[graph_of] + (place + 1) % sizes[graph_of]
    x = torch.stack([graph_of.float(), place.float()], 1)
    edges = torch.stack([torch.arange(len(x)), following])
    edges = edges[:, edges[1].argsort(stable=True)]
    y = torch.arange(GRAPHS) % 2
    y[:unlabelled] = UNLABELLED
    parts = torch.arange(15), torch.arange(15, 18), torch.arange(18, GRAPHS)
    return GraphsDataset("toy", x, edges, ptr, y, *parts, 2)


def same(first, second):
    graphs = first.views[0], second.views[0]
    return (
        torch.equal(first.y, second.y)
        and torch.equal(first.index, second.index)
        and torch.equal(*(graph.x for graph in graphs))
        and torch.equal(*(graph.edge_index for graph in graphs))
        and graphs[0].seeds == graphs[1].seeds
    )


LOADERS = {
    "whole": lambda seed=0: NodeLoader(node_data()),
    "sampled": lambda seed=0: SampledLoader(node_data(), 6, seed, [3, 2]),
    "with unlabelled": lambda seed=0: SampledLoader(node_data(), 6, seed, [3, 2], 9),
    "graphs": lambda seed=0: GraphBatchLoader(graphs_data(), 4, seed),
    "mixed graphs": lambda seed=0: GraphBatchLoader(graphs_data(7), 4, seed, False, 2),
}


@pytest.mark.parametrize("name", LOADERS)
def test_an_epoch_resumes_exactly_at_any_step(name):
    whole = list(LOADERS[name]().epoch(3))
    assert len(whole) == len(LOADERS[name]()) >= 1
    for start in range(len(whole) + 1):
        rest = list(LOADERS[name]().epoch(3, start))
        assert len(rest) == len(whole) - start
        assert all(map(same, rest, whole[start:]))


@pytest.mark.parametrize("name", [name for name in LOADERS if name != "whole"])
def test_epochs_and_seeds_differ(name):
    first = next(LOADERS[name]().epoch(0))
    assert not same(first, next(LOADERS[name]().epoch(1)))
    assert not same(first, next(LOADERS[name](seed=1).epoch(0)))


@pytest.mark.parametrize("name", LOADERS)
def test_the_global_generator_is_untouched_by_loading(name):
    before = torch.get_rng_state()
    list(LOADERS[name]().epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_a_full_batch_shows_the_whole_graph_and_the_labels_of_train_alone():
    data = node_data()
    (batch,) = NodeLoader(data).epoch(0)
    assert batch.views[0] is data.graph
    assert batch.index.tolist() == list(range(NODES))
    assert torch.equal(batch.y[:22], data.y[:22])
    assert (batch.y[22:] == UNLABELLED).all()
    again = next(NodeLoader(data).epoch(5))
    assert again.views[0] is batch.views[0]


def test_sampled_batches_pass_once_over_train_with_one_label_a_seed():
    data = node_data()
    batches = list(SampledLoader(data, 6, 0, [3, 2]).epoch(0))
    assert torch.cat([batch.index for batch in batches]).sort().values.tolist() == list(range(22))
    for batch in batches:
        graph = batch.views[0]
        assert graph.seeds == len(batch.y) == len(batch.index)
        assert torch.equal(graph.x[: graph.seeds], data.graph.x[batch.index])
        assert torch.equal(batch.y, data.y[batch.index])
        assert graph.num_nodes > graph.seeds


def test_unlabelled_seeds_come_from_outside_train_without_their_labels():
    data = node_data()
    batches = list(SampledLoader(data, 6, 0, [3, 2], unlabelled_per_batch=30).epoch(0))
    seen = Counter()
    for batch in batches:
        known = batch.y != UNLABELLED
        assert torch.equal(known, batch.index < 22)
        assert len(batch.index.unique()) == len(batch.index)
        assert int((~known).sum()) <= 30
        seen.update(batch.index[~known].tolist())
    # Four steps of 30 pass three times over 38 nodes.
    assert len(seen) == 38
    assert max(seen.values()) <= 4


def test_graph_batches_hold_each_training_graph_once_and_whole():
    data = graphs_data()
    batches = list(GraphBatchLoader(data, 4, 0, drop_last=False).epoch(0))
    assert torch.cat([batch.index for batch in batches]).sort().values.tolist() == list(range(15))
    for batch in batches:
        graph = batch.views[0]
        assert graph.graphs == len(batch.y)
        assert torch.equal(batch.y, data.y[batch.index])
        assert torch.equal(graph.x[:, 0].long(), batch.index[graph.graph_of])
        # A ring sends from each place to the next one of the same graph.
        senders, receivers = graph.edge_index
        assert torch.equal(graph.graph_of[senders], graph.graph_of[receivers])
        size = graph.graph_of.bincount()[graph.graph_of]
        assert torch.equal((graph.x[senders, 1] + 1) % size[senders], graph.x[receivers, 1])


def test_labelled_graphs_come_first_in_mixed_batches():
    batch = next(GraphBatchLoader(graphs_data(7), 4, 0, labelled_per_batch=2).epoch(0))
    assert (batch.y != UNLABELLED).tolist() == [True, True, False, False]


def test_a_union_of_graphs_is_that_of_torch_geometric():
    geometric = pytest.importorskip("torch_geometric.data")
    data = graphs_data()
    single = []
    for graph in range(GRAPHS):
        first, last = data.ptr[graph : graph + 2].tolist()
        inside = (data.edge_index[1] >= first) & (data.edge_index[1] < last)
        single.append(
            geometric.Data(x=data.x[first:last], edge_index=data.edge_index[:, inside] - first)
        )
    index = torch.tensor([4, 0, 22, 4, 9])
    expected = geometric.Batch.from_data_list([single[graph] for graph in index])
    found = data.select(index)
    assert torch.equal(found.x, expected.x)
    assert torch.equal(found.edge_index, expected.edge_index)
    assert torch.equal(found.graph_of, expected.batch)
    assert found.graphs == expected.num_graphs


def test_graphs_without_edges_and_no_graph_at_all_can_be_selected():
    data = graphs_data()
    bare = GraphsDataset(
        "bare", data.x, data.edge_index[:, :0], data.ptr, data.y, data.train, data.val, data.test, 2
    )
    assert bare.select(torch.tensor([3, 1])).edge_index.shape == (2, 0)
    assert data.select(torch.tensor([], dtype=torch.int64)).num_nodes == 0


def test_rows_to_evaluate_hold_the_labels_of_their_split_alone():
    data = node_data()
    rows = node_rows(data, "test")
    ((graph, y),) = rows()
    assert graph is data.graph
    assert torch.equal(y[30:50], data.y[30:50])
    assert (y[:30] == UNLABELLED).all()
    assert (y[50:] == UNLABELLED).all()


def test_sampled_rows_give_the_outputs_of_the_whole_graph():
    data = node_data()
    for _ in range(2):
        rows = list(sampled_node_rows(data, "test", 7, hops=1)())
        assert [len(y) for _, y in rows] == [7, 7, 6]
        assert torch.equal(torch.cat([y for _, y in rows]), data.y[30:50])
        found = torch.cat([(g.operator("gcn") @ g.x)[: g.seeds] for g, _ in rows])
        torch.testing.assert_close(found, (data.graph.operator("gcn") @ data.graph.x)[30:50])


def test_rows_of_graphs_come_in_order_and_keep_what_was_made_of_them():
    data = graphs_data()
    rows = graph_rows(data, "test", 2)
    found = list(rows())
    assert torch.equal(torch.cat([y for _, y in found]), data.y[18:])
    assert found[0][0].x[:, 0].unique().tolist() == [18, 19]
    assert next(iter(rows()))[0] is found[0][0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SampledLoader(node_data(), 0, 0), "batch_size: 0"),
        (lambda: SampledLoader(node_data(), 4, 0, [0]), "fanout"),
        (
            lambda: SampledLoader(node_data(), 4, 0, [2], 39),
            "unlabelled_per_batch: 39; allowed: 0 to 38",
        ),
        (lambda: SampledLoader(node_data(), 4, 0, [2], -1), "unlabelled_per_batch: -1"),
        (lambda: GraphBatchLoader(graphs_data(), 0, 0), "batch_size: 0"),
        (lambda: GraphBatchLoader(graphs_data(), 4, 0, True, 2), "every training row is labelled"),
        (lambda: graph_rows(graphs_data(), "val", 0), "batch_size: 0"),
        (lambda: sampled_node_rows(node_data(), "val", 0, 2), "batch_size: 0"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_data_on_a_device_is_read_there_by_everyone():
    data = node_data()
    assert data.to("cpu").graph is data.graph
    moved = data.to("meta")
    assert moved.graph.device.type == "meta"
    (batch,) = NodeLoader(moved).epoch(0)
    assert batch.views[0] is moved.graph
    assert {batch.y.device.type, batch.index.device.type} == {"meta"}
    assert np.all(moved.y.numpy() == data.y.numpy())
