"""Invariant 9: rooms import only rooms above them, and no core room names a task."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "peerlearn"
#: Rooms in order: each may import itself and those before it. `FACE` is `peerlearn/__init__.py`.
FACE = "__init__"
ROOMS = (
    "errors", "names", "memory", "json_shapes", "files", "plain_yaml", "locks", "importing",
    "provenance", "validation", "randomness", "modes", "calling", "launched", "transfer",
    "objectives", "data", "models", "metrics", "token_ids", "twins", "membership", "cohort",
    "engine", "results_checks", "results", "row_scores", "report", "reading", "tasks", "systems",
    "serving", "compare", "building", "fitting", "recipes", FACE, "cli", "__main__",
)  # fmt: skip
#: The file of `tasks/` that names all of them, and those that all of them may import.
REGISTRY = "tasks.registry"
COMMON = ("tasks.contract", "tasks.config", "tasks.assembly", "tasks.kept_data")


def module_of(path: Path, source: Path) -> str:
    """The dotted name of a file below `source`; of `a/__init__.py` it is `a`."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == FACE and len(parts) > 1 else parts)


def modules_below(source: Path) -> dict[str, Path]:
    """Every file by its dotted name."""
    return {module_of(path, source): path for path in sorted(source.rglob("*.py"))}


def imports_of(path: Path, known: set[str]) -> Iterator[str]:
    """Dotted names of what a file imports of the package, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (_below(alias.name, known) for alias in node.names if _ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are written in full"
            if node.module is not None and _ours(node.module):
                for alias in node.names:
                    yield _below(f"{node.module}.{alias.name}", known)


def _ours(name: str) -> bool:
    return name == "peerlearn" or name.startswith("peerlearn.")


def _below(name: str, known: set[str]) -> str:
    """The longest front of a name that is a file."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts) or FACE


def home_of(name: str) -> str:
    """The room of a file, or the folder of its task."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "tasks" else parts[0]


def _place(room: str) -> int:
    assert room in ROOMS, f"{room}: a new room; give it its place in ROOMS"
    return ROOMS.index(room)


def fault(importer: str, imported: str) -> tuple[str, str] | None:
    """The homes of two files of which the first must not import the second, None if it may."""
    homes = home, other = home_of(importer), home_of(imported)
    rooms = [_place(name.split(".")[0]) for name in homes]
    if rooms[0] != rooms[1]:
        return homes if rooms[0] < rooms[1] else None
    # What lies in `tasks` itself is common to them, but for the one file that names them all.
    apart = home != other and other.startswith("tasks.") and other not in COMMON
    return homes if apart and importer != REGISTRY else None


def broken(source: Path = SOURCE) -> dict[tuple[str, str], list[str]]:
    """Homes between which imports break the order, and those imports."""
    modules = modules_below(source)
    found: dict[tuple[str, str], list[str]] = {}
    for importer, path in modules.items():
        for imported in sorted(set(imports_of(path, set(modules)))):
            if homes := fault(importer, imported):
                line = f"{path.relative_to(source).as_posix()} imports {imported}"
                found.setdefault(homes, []).append(line)
    return found


def test_every_room_has_its_place() -> None:
    assert {name.split(".")[0] for name in modules_below(SOURCE)} <= set(ROOMS)


def test_rooms_import_only_rooms_above_them() -> None:
    faults = broken()
    lines = [
        f"{a} must not import {b}: {line}" for (a, b), found in faults.items() for line in found
    ]
    assert not faults, "\n".join(lines)


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    files = {
        "__init__.py": "",
        "cohort.py": "",
        "errors.py": "if TYPE_CHECKING:\n    from peerlearn import cohort",
        "data/__init__.py": "from peerlearn import errors, data\nimport numpy",
        "data/npz.py": "def read():\n    import peerlearn.engine.files",
        "engine/files.py": "from peerlearn.data.npz import read\nfrom peerlearn import Cohort",
        "tasks/registry.py": "from peerlearn.tasks.rows import Rows",
        "tasks/contract.py": "from peerlearn.tasks.rows.task import Rows",
        "tasks/rows/task.py": "from peerlearn.tasks import contract\nimport peerlearn.tasks.rows",
        "tasks/masks/task.py": "from peerlearn.tasks.rows import task\nimport peerlearn.cli",
        "tasks/rows/__init__.py": "from peerlearn.tasks.registry import TASKS",
        "cli/__init__.py": "from peerlearn.tasks.rows.task import Rows",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert broken(tmp_path).keys() == {
        ("errors", "cohort"),
        ("data", "engine"),
        ("engine", FACE),
        ("tasks.contract", "tasks.rows"),
        ("tasks.masks", "tasks.rows"),
        ("tasks.masks", "cli"),
        ("tasks.rows", "tasks.registry"),
    }
