import warnings

import numpy as np
import pytest
import torch
from scipy import sparse as sp

from peerlearn.errors import InputError
from peerlearn.tasks.graphs.data import Graph
from peerlearn.tasks.graphs.data.graph import csr_tensor, ranges, take_rows

KINDS = ("gcn", "mean", "sum")


def random_edges(nodes=30, edges=90, loops=True, symmetric=False, seed=0):
    ends = torch.randint(0, nodes, (2, edges), generator=torch.Generator().manual_seed(seed))
    if symmetric:
        ends = torch.cat([ends, ends.flip(0)], 1)
    if not loops:
        ends = ends[:, ends[0] != ends[1]]
    return ends.unique(dim=1)


def graph(**options):
    # Node 30 sends and receives nothing.
    return Graph(torch.eye(31), random_edges(**options))


def dense(edge_index, nodes, loops):
    matrix = torch.zeros(nodes, nodes)
    matrix[edge_index[1], edge_index[0]] = 1
    return matrix if loops else matrix.fill_diagonal_(0)


@pytest.mark.parametrize("symmetric", [True, False])
def test_operators_are_the_formulas_of_their_papers(symmetric):
    it = graph(symmetric=symmetric)
    plain = dense(it.edge_index, 31, loops=False)
    looped = plain + torch.eye(31)
    root = looped.sum(1).rsqrt()
    expected = {
        "gcn": root[:, None] * looped * root,
        "mean": plain / plain.sum(1, keepdim=True).clamp(min=1),
        "sum": dense(it.edge_index, 31, loops=True),
    }
    for kind in KINDS:
        torch.testing.assert_close(it.operator(kind).to_dense(), expected[kind])
        torch.testing.assert_close(it.transposed(kind).to_dense(), expected[kind].T)
        assert it.operator(kind).layout == torch.sparse_csr
        assert it.operator(kind).dtype == torch.float32


def test_operators_agree_with_torch_geometric():
    geometric = pytest.importorskip("torch_geometric")
    for symmetric in (True, False):
        it = graph(symmetric=symmetric, loops=False)
        h = torch.randn(31, 5, generator=torch.Generator().manual_seed(1))
        ends, weight = geometric.nn.conv.gcn_conv.gcn_norm(it.edge_index, None, 31)
        normalised = torch.zeros(31, 31).index_put((ends[1], ends[0]), weight)
        torch.testing.assert_close(it.operator("gcn") @ h, normalised @ h)
        for kind in ("mean", "sum"):
            layer = geometric.nn.SimpleConv(aggr=kind)
            torch.testing.assert_close(it.operator(kind) @ h, layer(h, it.edge_index))


def test_a_node_without_neighbours_keeps_itself_in_gcn_and_gets_nothing_else():
    it = graph(loops=False)
    assert it.operator("gcn").to_dense()[30].tolist() == [0.0] * 30 + [1.0]
    assert not it.operator("mean").to_dense()[30].any()
    assert not it.operator("sum").to_dense()[30].any()


def test_the_transpose_of_a_symmetric_operator_is_the_operator_itself():
    it = graph(symmetric=True)
    assert it.transposed("gcn") is it.operator("gcn")
    assert it.transposed("sum") is it.operator("sum")
    assert it.transposed("mean") is not it.operator("mean")
    assert graph().transposed("gcn") is not graph().operator("gcn")


def test_a_graph_without_edges_still_has_operators():
    it = Graph(torch.ones(4, 2), torch.empty(2, 0, dtype=torch.int64))
    assert torch.equal(it.operator("gcn").to_dense(), torch.eye(4))
    assert not it.operator("mean").to_dense().any()
    assert not it.operator("sum").to_dense().any()
    assert it.attention_edges().receivers.tolist() == [0, 1, 2, 3]


def test_attention_edges_are_sorted_by_receiver_with_one_loop_each():
    it = graph()
    senders, receivers, offsets = it.attention_edges()
    assert torch.equal(receivers, receivers.sort().values)
    assert int((senders == receivers).sum()) == 31
    expected = dense(it.edge_index, 31, loops=True).fill_diagonal_(1)
    assert torch.equal(dense(torch.stack([senders, receivers]), 31, loops=True), expected)
    assert len(senders) == int(expected.sum())
    for node in range(31):
        assert (receivers[offsets[node] : offsets[node + 1]] == node).all()


def test_what_is_derived_is_made_once_and_shared():
    it = graph()
    assert it.operator("gcn") is it.operator("gcn")
    assert it.transposed("mean") is it.transposed("mean")
    assert it.attention_edges() is it.attention_edges()
    assert it.to("cpu") is it
    assert it.to(None) is it
    made = []

    def made_of(graph, number):
        made.append(number)
        return graph, number

    assert [it.cached(made_of, number) for number in (2, 2, 3)] == [(it, 2), (it, 2), (it, 3)]
    assert made == [2, 3]


def test_moving_to_a_device_moves_every_tensor_and_drops_what_was_derived():
    it = Graph(
        torch.ones(3, 2),
        torch.tensor([[0, 1], [1, 2]]),
        graph_of=torch.zeros(3, dtype=torch.int64),
        degree=torch.ones(3, dtype=torch.int64),
    )
    it.operator("sum")
    moved = it.to("meta", non_blocking=True)
    tensors = (moved.x, moved.edge_index, moved.graph_of, moved.degree)
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert moved.device.type == "meta"
    assert not moved._cache


def test_an_unknown_operator_is_refused_with_the_nearest_one():
    with pytest.raises(InputError, match=r"unknown propagation operator 'gnc'.*'gcn'.*mean, sum"):
        graph().operator("gnc")


@pytest.fixture
def every_warning():
    """Torch warns of sparse matrices once a process, which an earlier test may have used up."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


def test_no_warning_reaches_the_user(every_warning):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        it = graph(seed=3)
        for kind in KINDS:
            it.operator(kind) @ torch.ones(31, 2)
            it.transposed(kind)


def test_global_degrees_rescale_what_arrives_over_the_edges_that_are_left():
    ends = torch.tensor([[1, 2, 3, 0], [0, 0, 0, 0]])
    degree = torch.tensor([6, 3, 0, 8])
    it = Graph(torch.eye(4), ends, degree=degree)
    gcn = it.operator("gcn").to_dense()
    expected = [1 / 7, *(2 / (7 * (d + 1)) ** 0.5 for d in (3, 0, 8))]
    torch.testing.assert_close(gcn[0], torch.tensor(expected))
    torch.testing.assert_close(gcn.diagonal(), 1 / (degree + 1.0))
    assert it.operator("sum").to_dense()[0].tolist() == [1, 2, 2, 2]
    torch.testing.assert_close(it.operator("mean").to_dense()[0], torch.tensor([0, 1, 1, 1]) / 3)


def test_rows_of_sparse_features_are_taken_as_from_dense_ones():
    values = sp.random_array((20, 7), density=0.2, format="csr", rng=0, dtype=np.float32)
    x = csr_tensor(values)
    index = torch.tensor([3, 3, 0, 19, 7])
    assert torch.equal(take_rows(x, index).to_dense(), x.to_dense()[index])
    assert torch.equal(take_rows(x.to_dense(), index), x.to_dense()[index])
    assert take_rows(x, index[:0]).shape == (0, 7)


def test_ranges_count_from_each_start():
    starts, counts = torch.tensor([5, 0, 9]), torch.tensor([2, 0, 3])
    assert ranges(starts, counts).tolist() == [5, 6, 9, 10, 11]
    assert ranges(starts[:0], counts[:0]).tolist() == []


def test_sparse_features_are_recognised():
    assert Graph(csr_tensor(sp.eye_array(3, format="csr")), torch.empty(2, 0)).sparse_features
    assert not graph().sparse_features
    assert (graph().num_nodes, graph().num_features) == (31, 31)
