"""`peerlearn.build_model`: an untrained network of any task by name."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from peerlearn.errors import InputError
from peerlearn.models import MODELS
from peerlearn.tasks.graphs.models import GRAPH_MODELS


def build_model(
    name: str, sample: Any, classes: int | None = None, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """An untrained network; its weights come from torch's global generator, which you seed.

    ```python
    build_model("cnn", (1, 28, 28), 10), build_model("gcn", data), build_model("gcn", 1433, 7)
    ```

    Args:
        name: of `peerlearn ls models`, `timm:NAME`, or `python:package.module:function`.
        sample: for images and vectors the shape of a row, (C, H, W) or (F,); for graphs the number
            of node features, or a torch-geometric `Data` or a list of them.
        classes: number of outputs; None for those of a `Data`.
        arguments: keyword arguments of the model.

    Raises InputError: an unknown name, wrong arguments, or a sample that the network does not read.
    """
    if name not in GRAPH_MODELS.names:
        if classes is None:
            raise InputError(f"classes: how many outputs {name} has is needed")
        return MODELS.build(name, sample, classes, arguments)
    features, known = _of_graphs(name, sample)
    classes = known if classes is None else classes
    if classes is None:
        raise InputError(f"classes: how many outputs {name} has is needed beside {features}")
    return GRAPH_MODELS.build(name, features, classes, arguments)


def _of_graphs(name: str, sample: Any) -> tuple[int, int | None]:
    """(features of a node, classes where labels say so)."""
    graphs = list(sample) if isinstance(sample, list) else [sample]
    x, labels = getattr(graphs[0], "x", None), [getattr(each, "y", None) for each in graphs]
    if isinstance(x, Tensor) and x.ndim == 2:
        if not all(isinstance(y, Tensor) and y.numel() for y in labels):
            return x.shape[1], None
        return x.shape[1], 1 + max(int(y.max()) for y in labels if y is not None)
    if isinstance(sample, int) or (isinstance(sample, tuple | list) and len(sample) == 1):
        return sample if isinstance(sample, int) else sample[0], None
    raise InputError(
        f"{name} reads graphs: sample = {sample!r}; expected the number of features of a node, or "
        "a torch_geometric.data.Data with x (or a list of them)"
    )
