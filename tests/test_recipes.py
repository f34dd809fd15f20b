"""Recipes as Python objects, on rows at hand."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

import peerlearn
from peerlearn.errors import InputError

geometric = pytest.importorskip("torch_geometric.data")

QUICK = {"epochs": 1, "batch_size": 16, "precision": "fp32"}


def rows(count: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


def nodes(columns: int = 0) -> object:
    """Nodes of two classes that features tell apart, with one split or several."""
    x, y = rows(40)
    order = torch.arange(40)
    masks = {
        f"{part}_mask": (order >= first) & (order < last)
        for part, first, last in (("train", 0, 20), ("val", 20, 30), ("test", 30, 40))
    }
    if columns:
        masks = {
            k: torch.stack([m.roll(10 * n) for n in range(columns)], 1) for k, m in masks.items()
        }
    alike = [(y == label).nonzero()[:, 0] for label in (0, 1)]
    edges = torch.cat([torch.stack([each, each.roll(1)]) for each in alike], 1)
    return geometric.Data(x=x, y=y, edge_index=edges, **masks)


def graphs(count: int = 40) -> list:
    """Rings of three or four nodes."""
    made = []
    for number in range(count):
        size = 3 + number % 2
        ring = torch.arange(size)
        edges = torch.stack([ring, ring.roll(1)])
        x = torch.full((size, 2), float(number % 2))
        made.append(geometric.Data(x=x, edge_index=edges, y=torch.tensor([number % 2])))
    return made


MLP = {"peers.a": {"model": "mlp"}, "peers.b": {"model": "mlp"}}


def test_rows_at_hand_are_what_a_file_of_them_is(tmp_path: Path) -> None:
    x, y = rows()
    arrays = {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}
    import numpy as np

    np.savez(tmp_path / "mine.npz", **{k: v.numpy() for k, v in arrays.items()})
    expected = peerlearn.recipe("dml", MLP, data=tmp_path / "mine.npz", **QUICK).run()
    given = peerlearn.recipe("dml", MLP, data=arrays, **QUICK)
    assert given.run()["arms"]["mutual"]["peers"] == expected["arms"]["mutual"]["peers"]
    for form in (((x[:40], y[:40]), (x[40:], y[40:])), TensorDataset(x, y), (x, y)):
        found = peerlearn.recipe("dml", MLP, data=form, **QUICK).run()["arms"]["mutual"]
        assert 0 <= found["ensemble"]["accuracy"]["mean"] <= 1


def test_rows_at_hand_are_compared_and_chosen_from(tmp_path: Path) -> None:
    bound = peerlearn.recipe("dml", MLP | {"data.train_size": 20}, data=rows(), **QUICK)
    results = bound.compare(tmp_path / "cmp", arms=["mutual", "independent"], seeds=range(2))
    assert results["seeds"] == [0, 1]
    assert results["data"] == "(in Python)"
    run = tmp_path / "cmp/cells/mutual/seed-0"
    assert peerlearn.load(run).info.rows["train"] == 20
    with pytest.raises(InputError, match="data: the run was trained on rows that were given in"):
        peerlearn.serving.evaluate_run(peerlearn.load(run).run)


def test_data_of_torch_geometric_are_nodes_to_classify() -> None:
    found = peerlearn.recipe("gml-node", data=nodes(), epochs=30).run(seed=0)
    assert found["arms"]["full"]["ensemble"]["accuracy"]["mean"] >= 0.9
    several = {
        index: peerlearn.recipe(
            "gml-node", {"data.split_index": index}, data=nodes(3), epochs=2
        ).run()["arms"]["full"]["peers"]
        for index in (0, 1)
    }
    assert several[0] != several[1]
    by_name = {key: nodes()[key] for key in nodes().keys()}  # noqa: SIM118 -- Data has keys()
    again = peerlearn.recipe("gml-node", data=by_name, epochs=30).run(seed=0)
    assert again["arms"]["full"]["peers"] == found["arms"]["full"]["peers"]


def test_a_saved_data_is_read_and_nothing_else_is_unpickled(tmp_path: Path) -> None:
    torch.save(nodes(), tmp_path / "nodes.pt")
    found = peerlearn.recipe("gml-node", data=tmp_path / "nodes.pt", epochs=3).run()
    expected = peerlearn.recipe("gml-node", data=nodes(), epochs=3).run()
    assert found["arms"]["full"]["peers"] == expected["arms"]["full"]["peers"]
    torch.save(Path("x"), tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: not a file of torch_geometric Data alone"):
        peerlearn.recipe("gml-node", data=tmp_path / "other.pt").run()


def test_a_list_of_data_are_graphs_to_classify() -> None:
    found = peerlearn.recipe("gml-graph", data=graphs(), epochs=8, batch_size=8).run(seed=0)
    assert found["arms"]["full"]["ensemble"]["accuracy"]["mean"] == 1


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("gml-node", geometric.HeteroData(), r"found HeteroData.*to_homogeneous\(\)"),
        ("gml-graph", geometric.HeteroData(), r"found HeteroData.*to_homogeneous\(\)"),
        ("gml-graph", [geometric.HeteroData()], r"found HeteroData.*to_homogeneous\(\)"),
        ("gml-node", graphs(), "data: found list; nodes of one graph.*gml-graph"),
        ("gml-graph", nodes(), "data: found Data; graphs that are classified.*gml-node"),
        ("gml-node", 3, "data: found int; nodes of one graph"),
        ("gml-graph", [1, 2], "data: a list with a int; expected one Data a graph"),
        ("gml-node", geometric.Data(x=torch.ones(2, 2)), "array 'edge_index' is missing|'y' is"),
        ("dml", 3, "data: found int; allowed"),
        ("discovery", rows(), "data: found tuple; recipe 'discovery' takes a name or a path"),
    ],
)
def test_other_data_are_refused(name: str, data: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        peerlearn.recipe(name, data=data).run()


def test_unknown_keys_are_refused_as_on_the_command_line() -> None:
    with pytest.raises(InputError, match=r"epoch: unknown key. Did you mean 'epochs'"):
        peerlearn.recipe("dml", epoch=3)
    with pytest.raises(InputError, match="nmae"):
        peerlearn.recipe("dml", data={"nmae": "digits"})


def test_networks_of_all_tasks_are_built_by_name() -> None:
    data = nodes()
    for sample, classes in ((data, None), (6, 2), ((6,), 2)):
        assert peerlearn.build_model("gcn", sample, classes).features == 6
    assert peerlearn.build_model("gin", graphs()).features == 2
    assert (
        peerlearn.build_model("mlp", (4,), 3, {"hidden": [5]})(torch.ones(1, 4)).logits.shape[1]
        == 3
    )
    with pytest.raises(InputError, match=r"gcn reads graphs: sample = \(1, 8, 8\); expected"):
        peerlearn.build_model("gcn", (1, 8, 8), 10)
    with pytest.raises(InputError, match="classes: how many outputs gcn has is needed beside 6"):
        peerlearn.build_model("gcn", 6)
    with pytest.raises(InputError, match=r"unknown model 'gcn'.*peerlearn.build_model"):
        peerlearn.models.build_model("gcn", (4,), 2)


OWN = {"peers.gcn": "python:own_parts:Neighbours", "peers.gat": None, "transfer.weighting": "none"}


@pytest.mark.parametrize("fanout", [None, [2]])
def test_nodes_train_networks_that_take_x_and_edges(fanout: list | None) -> None:
    changes = QUICK | OWN | {"epochs": 30, "lr": 0.1, "fanout": fanout, "arm": "mutual"}
    changes |= {"peers.sage": {"model": "sage", "arguments": {"layers": 1}}}
    arm = peerlearn.recipe("gml-node", changes, data=nodes()).run()["arms"]["mutual"]
    assert arm["peers"]["gcn"]["accuracy"]["mean"] >= 0.8


def test_graphs_train_networks_that_take_batch() -> None:
    own = {"peers.gcn": "python:own_parts:Neighbours", "peers.gin": None, "arm": "mutual"}
    changes = QUICK | own | {"epochs": 10, "lr": 0.1, "transfer.weighting": "none"}
    arm = peerlearn.recipe("gml-graph", changes, data=graphs()).run()["arms"]["mutual"]
    assert arm["peers"]["gcn"]["accuracy"]["mean"] == 1


@pytest.mark.parametrize(("data", "name"), [(nodes, "gml-node"), (graphs, "gml-graph")])
def test_fit_points_to_the_recipes_on_graphs(data, name: str) -> None:
    cohort = peerlearn.Cohort({n: torch.nn.Linear(2, 2) for n in ("a", "b")})
    with pytest.raises(InputError, match=rf'torch-geometric.*peerlearn.recipe\("{name}"'):
        peerlearn.fit(cohort, data())
