import itertools

import numpy as np
import pytest
import torch

from peerlearn.errors import InputError
from peerlearn.randomness import keyed_generator
from peerlearn.tasks.graphs.data import Graph
from peerlearn.tasks.graphs.data.graph import csr_tensor
from peerlearn.tasks.graphs.data.loaders import NeighbourSampler, distinct_numbers

NODES = 200


def whole_graph(sparse=False):
    """A directed graph with loops, hubs (low numbers) and isolated nodes (the last ten)."""
    rng = np.random.default_rng(0)
    ends = (rng.random((2, 1500)) ** 2 * (NODES - 10)).astype(np.int64)
    x = torch.from_numpy(rng.random((NODES, 6), dtype=np.float32))
    if sparse:
        import scipy.sparse as sp

        x = csr_tensor(sp.csr_array((x * (x > 0.7)).numpy()))
    return Graph(x, torch.from_numpy(ends).unique(dim=1))


def outputs(graph, kind):
    """Two propagations with a bend between them, as networks of two layers do."""
    x = graph.x.to_dense() if graph.sparse_features else graph.x
    weights = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    hidden = torch.relu(graph.operator(kind) @ (x @ weights))
    return (x + graph.operator(kind) @ hidden)[: graph.seeds]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", ["gcn", "mean", "sum"])
def test_all_neighbours_give_the_outputs_of_the_whole_graph(kind, sparse):
    whole = whole_graph(sparse)
    seeds = torch.tensor([150, 3, 0, 199, 42, 77])
    part, nodes = NeighbourSampler(whole, [-1, -1]).sample(seeds, keyed_generator(0))
    assert part.seeds == 6
    assert torch.equal(nodes[:6], seeds)
    assert part.num_nodes < NODES
    assert part.sparse_features == sparse
    torch.testing.assert_close(outputs(part, kind), outputs(whole, kind)[seeds])


def test_all_neighbours_give_the_attention_of_the_whole_graph():
    whole = whole_graph()
    seeds = torch.tensor([5, 60])
    part, nodes = NeighbourSampler(whole, [-1]).sample(seeds, keyed_generator(0))
    for place, seed in enumerate(seeds):
        senders, receivers, _ = part.attention_edges()
        expected, at, _ = whole.attention_edges()
        assert nodes[senders[receivers == place]].sort().values.tolist() == (
            expected[at == seed].tolist()
        )


def test_a_sample_holds_true_edges_to_at_most_so_many_neighbours():
    whole = whole_graph()
    seeds = torch.arange(20)
    part, nodes = NeighbourSampler(whole, [4, 2]).sample(seeds, keyed_generator(1))
    assert len(nodes.unique()) == len(nodes) == part.num_nodes
    assert torch.equal(part.x, whole.x[nodes])
    known = set(map(tuple, whole.edge_index.T.tolist()))
    assert {tuple(edge) for edge in nodes[part.edge_index].T.tolist()} <= known
    plain = part.edge_index[:, part.edge_index[0] != part.edge_index[1]]
    received = plain[1].bincount(minlength=part.num_nodes)
    full = (whole.edge_index[:, whole.edge_index[0] != whole.edge_index[1]][1]).bincount(
        minlength=NODES
    )
    assert torch.equal(part.degree, full[nodes])
    assert torch.equal(received[:20], full[:20].clamp(max=4))
    assert int(received.max()) == 4
    assert int(received[20:].max()) == 2
    assert plain.unique(dim=1).shape == plain.shape


def test_self_loops_of_sampled_nodes_are_always_there():
    whole = whole_graph()
    part, nodes = NeighbourSampler(whole, [1]).sample(torch.arange(50), keyed_generator(1))
    loops = part.edge_index[0][part.edge_index[0] == part.edge_index[1]]
    all_loops = whole.edge_index[0][whole.edge_index[0] == whole.edge_index[1]]
    assert set(nodes[loops].tolist()) == set(nodes.tolist()) & set(all_loops.tolist())
    assert len(loops)


@pytest.mark.parametrize("kind", ["gcn", "mean", "sum"])
def test_the_mean_over_samples_is_what_the_whole_graph_propagates(kind):
    whole = whole_graph()
    seeds = torch.tensor([0, 1, 2, 100])
    sampler = NeighbourSampler(whole, [5])
    total = torch.zeros(4, 6)
    for draw in range(1500):
        part, _ = sampler.sample(seeds, keyed_generator(0, draw))
        total += (part.operator(kind) @ part.x)[:4]
    exact = (whole.operator(kind) @ whole.x)[seeds]
    torch.testing.assert_close(total / 1500, exact, rtol=0.03, atol=0.01)


def test_equal_generators_draw_equal_samples_and_others_differ():
    whole = whole_graph()
    sampler = NeighbourSampler(whole, [3, 3])
    seeds = torch.arange(10)
    first, nodes = sampler.sample(seeds, keyed_generator(7))
    again, same = sampler.sample(seeds, keyed_generator(7))
    assert torch.equal(nodes, same)
    assert torch.equal(first.edge_index, again.edge_index)
    assert not torch.equal(sampler.sample(seeds, keyed_generator(8))[1], nodes)


def test_isolated_seeds_and_graphs_without_edges_are_sampled():
    part, nodes = NeighbourSampler(whole_graph(), [3]).sample(
        torch.tensor([199]), keyed_generator(0)
    )
    assert nodes.tolist() == [199]
    assert part.operator("gcn").to_dense().tolist() == [[1]]
    empty = Graph(torch.ones(4, 2), torch.empty(2, 0, dtype=torch.int64))
    part, _ = NeighbourSampler(empty, [3, 3]).sample(torch.tensor([2, 1]), keyed_generator(0))
    assert part.num_nodes == 2


def test_distinct_numbers_are_distinct_and_every_choice_is_equally_likely():
    limits = np.full(12_000, 5)
    chosen = distinct_numbers(limits, 2, keyed_generator(0))
    pairs = [frozenset(pair) for pair in chosen.tolist()]
    counts = [pairs.count(frozenset(pair)) for pair in itertools.combinations(range(5), 2)]
    assert sum(counts) == 12_000
    # Ten pairs of 1,200 expected; the standard deviation is 33.
    assert max(abs(count - 1200) for count in counts) < 4 * 33
    assert sorted(distinct_numbers(np.array([3]), 3, keyed_generator(1))[0]) == [0, 1, 2]


@pytest.mark.parametrize("fanout", [[], [0], [5, -2]])
def test_a_fan_out_that_means_nothing_is_refused(fanout):
    with pytest.raises(InputError, match=r"fanout: .*-1 for all"):
        NeighbourSampler(whole_graph(), fanout)


def test_sampling_leaves_no_trace_even_where_it_fails():
    sampler = NeighbourSampler(whole_graph(), [3])
    state = torch.get_rng_state()
    with pytest.raises(TypeError):
        sampler.sample(torch.arange(150), "no generator")
    assert (sampler._place == -1).all()
    assert torch.equal(state, torch.get_rng_state())
