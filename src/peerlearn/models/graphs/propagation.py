"""Propagation along edges, which the peers of a cohort do together.

A graph network does not multiply by a sparse matrix: it asks for the product. Peers advance in
lock-step from one question to the next, and questions about the same operator are answered by one
sparse product over the columns of all of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from peerlearn.models.graphs.products import Rows, sparse_product
from peerlearn.transfer.outputs import PeerOutput, as_peer_output

if TYPE_CHECKING:
    from peerlearn.data.graphs.graph import Graph


NARROW = 16
"""Widest states that a CPU multiplies together. Wider ones fill its vector registers by themselves,
and bringing them side by side and apart again costs more than the shared product saves."""


class Ask(NamedTuple):
    """A question: operator of that kind times h.

    Shapes:
        h: dense (N, D)
    """

    kind: str
    h: Tensor


Steps = Generator[Ask, Tensor, PeerOutput]
"""A forward pass that waits at every propagation: `h = yield Ask("gcn", h)`."""

Scope = Callable[[str], AbstractContextManager[object]]
"""A context per peer, entered whenever that peer computes; see `RandomStreams`."""


class GraphNetwork(nn.Module, ABC):
    """A network that reads a `Graph`; alone it is called as any module.

    Shapes:
        logits: (N, classes), or (seeds, classes) where only those nodes are asked for an output,
            or (graphs, classes) where nodes belong to graphs
        features: see `OperatorNetwork`

    Attributes:
        reads_edges: whether outputs depend on the edges.
    """

    reads_edges: bool = True

    @abstractmethod
    def steps(self, graph: "Graph") -> Steps:
        """The forward pass, as a generator that yields an `Ask` and is sent the product."""

    def forward(self, graph: "Graph") -> PeerOutput:
        return together({"": self.steps(graph)}, graph)[""]


def propagate(graph: "Graph", kind: str, h: Tensor) -> Tensor:
    """What every node receives: operator @ h, differentiable in h.

    Args:
        graph: whose operator, and its transpose for the backward pass, are made once.
        kind: gcn, mean or sum.
        h: dense (N, D).
    """
    return sparse_product(Rows.of(graph.operator(kind)), Rows.of(graph.transposed(kind)), h)


def together(
    steps: Mapping[str, Steps], graph: "Graph", scope: Scope = nullcontext
) -> dict[str, PeerOutput]:
    """Run forward passes in lock-step, with shared sparse products; the results are the same.

    Args:
        steps: forward passes by name.
        graph: what all of them read.
        scope: what a name's own computations run inside; the shared products run outside.
    """
    outputs: dict[str, PeerOutput] = {}
    asked: dict[str, Ask] = {}
    answers: dict[str, Tensor | None] = dict.fromkeys(steps)
    while answers:
        for name, answer in answers.items():
            with scope(name):
                try:
                    # The first `send` must be of None, which is what starts a generator.
                    asked[name] = steps[name].send(answer)  # type: ignore[arg-type]
                except StopIteration as finished:
                    outputs[name] = finished.value
        answers, asked = _answer(asked, graph), {}
    return {name: outputs[name] for name in steps}


def _answer(asked: Mapping[str, Ask], graph: "Graph") -> dict[str, Tensor | None]:
    groups: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, ask in asked.items():
        joins = ask.h.shape[1] <= NARROW or ask.h.device.type != "cpu"
        groups.setdefault((ask.kind, "" if joins else name), {})[name] = ask.h
    answers: dict[str, Tensor | None] = {}
    for (kind, _), states in groups.items():
        if len(states) == 1:
            answers |= {name: propagate(graph, kind, h) for name, h in states.items()}
            continue
        product = propagate(graph, kind, torch.cat(list(states.values()), dim=1))
        widths = [h.shape[1] for h in states.values()]
        answers |= dict(zip(states, product.split(widths, dim=1), strict=True))
    return {name: answers[name] for name in asked}


def forward_together(
    networks: Mapping[str, nn.Module], graph: "Graph", scope: Scope = nullcontext
) -> dict[str, PeerOutput]:
    """One forward of every network, as if each were called, with shared propagation.

    Forward hooks of a network run as in a call of it. A module that is not a `GraphNetwork`, or
    has hooks that must run before its forward, is called on its own.
    """
    alone = {name for name, network in networks.items() if not _can_share(network)}
    steps = {
        name: network.steps(graph)
        for name, network in networks.items()
        if isinstance(network, GraphNetwork) and name not in alone
    }
    shared = together(steps, graph, scope)
    outputs = {}
    for name, network in networks.items():
        with scope(name):
            output = network(graph) if name in alone else _hooked(network, graph, shared[name])
        outputs[name] = as_peer_output(output, name)
    return outputs


def _can_share(network: nn.Module) -> bool:
    return (
        isinstance(network, GraphNetwork)
        and type(network).forward is GraphNetwork.forward
        and not network._forward_pre_hooks
        and not network._backward_hooks
        and not network._backward_pre_hooks
    )


def _hooked(network: nn.Module, graph: "Graph", output: object) -> object:
    """What is left of `output` after the forward hooks, as in `nn.Module.__call__`."""
    for key, hook in list(network._forward_hooks.items()):
        keywords: tuple = ({},) if key in network._forward_hooks_with_kwargs else ()
        changed = hook(network, (graph,), *keywords, output)
        output = output if changed is None else changed
    return output
