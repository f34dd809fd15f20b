"""In place of Ray, for what the driver does: tasks run in this process, one after the other.

As with Ray, what goes to a node and comes back is pickled.
"""

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import cloudpickle
import pytest


class RayError(Exception):
    pass


class NodeDiedError(RayError):
    pass


class RayTaskError(RayError):
    cause: Exception | None = None


class Killed(BaseException):
    """What ends a task whose node or process dies, and what Ray then says."""


class Reference:
    """A value, or a task that gives it when it is waited for."""

    def __init__(self, value: Any = None, task: Callable[[], Any] | None = None) -> None:
        self.value, self.task, self.error = value, task, None

    def __reduce__(self) -> Any:
        REFERENCES[id(self)] = self
        return referred, (id(self),)

    def run(self) -> None:
        if self.task is not None:
            task, self.task = self.task, None
            try:
                self.value = task()
            except Killed as killed:
                self.error = killed.args[0]
            except Exception as error:
                self.error = RayTaskError(str(error))
                self.error.cause = error


REFERENCES: dict[int, Reference] = {}


def referred(key: int) -> Reference:
    """The reference that was pickled."""
    return REFERENCES[key]


class StandIn(ModuleType):
    """The module `ray`, with so many nodes of a CPU each.

    Attributes:
        on_tell: is called with a node's name whenever a cell there tells something; `Killed` that
            it raises ends the task.
        started: names of the nodes on which tasks were begun, in order.
    """

    def __init__(self, nodes: int) -> None:
        super().__init__("ray")
        self.living = {f"node{number:08}": {"CPU": 1.0} for number in range(nodes)}
        self.on_tell: Callable[[str], None] = lambda node: None
        self.started: list[str] = []
        self.here = "node00000000"
        self.util = SimpleNamespace(get_node_ip_address=lambda: f"host of {self.here}")

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": n, "Alive": True, "Resources": has} for n, has in self.living.items()]

    def put(self, value: Any) -> Reference:
        return Reference(cloudpickle.loads(cloudpickle.dumps(value)))

    def get(self, reference: Reference, timeout: float | None = None) -> Any:
        reference.run()
        if reference.error is not None:
            raise reference.error
        return reference.value

    def wait(self, references: list, num_returns: int = 1, timeout: float = 0) -> Any:
        for reference in references[:num_returns]:
            reference.run()
        return references[:num_returns], references[num_returns:]

    def cancel(self, reference: Reference, force: bool = False) -> None:
        reference.task = None

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: self.here)

    def remote(self, what: Any) -> Any:
        return Actor(self, what) if isinstance(what, type) else Remote(self, what)


class Remote:
    """A function that runs on the first node that lives, or on the one that is asked for."""

    def __init__(self, ray: StandIn, function: Callable[..., Any]) -> None:
        self.ray, self.function, self.node = ray, function, None

    def options(self, scheduling_strategy: str | None = None, **_: Any) -> "Remote":
        made = Remote(self.ray, self.function)
        made.node = scheduling_strategy
        return made

    def remote(self, *arguments: Any) -> Reference:
        sent = cloudpickle.dumps(arguments)

        def task() -> Any:
            self.ray.here = self.node or next(iter(self.ray.living))
            self.ray.started.append(self.ray.here)
            given = cloudpickle.loads(sent)
            given = [it.value if isinstance(it, Reference) else it for it in given]
            return cloudpickle.loads(cloudpickle.dumps(self.function(*given)))

        return Reference(task=task)


class Actor:
    """An object whose methods are called at once."""

    def __init__(self, ray: StandIn, kind: type) -> None:
        self.ray, self.kind = ray, kind

    def options(self, **_: Any) -> "Actor":
        return self

    def remote(self) -> Any:
        made = self.kind()
        BOARDS[id(made)] = made
        return Handle(id(made))


BOARDS: dict[int, Any] = {}


class Handle:
    def __init__(self, key: int) -> None:
        self._key = key

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        ray, method = sys.modules["ray"], getattr(BOARDS[self._key], name)

        def remote(*given: Any) -> Reference:
            if name == "tell":
                ray.on_tell(ray.here)  # type: ignore[attr-defined]
            return Reference(method(*given))

        return SimpleNamespace(remote=remote)


def stand_in(monkeypatch: pytest.MonkeyPatch, nodes: int = 2) -> StandIn:
    """Put the stand-in where `import ray` finds it."""
    ray = StandIn(nodes)
    names = ("RayError", "NodeDiedError", "RayTaskError")
    exceptions = SimpleNamespace(**{name: globals()[name] for name in names})
    strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: node)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.exceptions", exceptions)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "ray.util", ray.util)
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)  # type: ignore[arg-type]
    return ray
