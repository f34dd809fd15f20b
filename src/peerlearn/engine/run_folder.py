"""A run on disk: what was asked, what happened, what came out, and where it can go on."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from peerlearn.data.fingerprint import Fingerprint, changes, files_of
from peerlearn.engine.continuing import (
    check_same,
    data_changed,
    holds,
    moved_words,
    not_empty,
)
from peerlearn.engine.files import load_state, save_state
from peerlearn.engine.growth import Growth, check_growth
from peerlearn.engine.places import PLACES, anchored, begun_in
from peerlearn.engine.weight_files import read_weights, write_weights
from peerlearn.errors import InputError, shown
from peerlearn.files import (
    cannot_write,
    check_inside,
    json_line,
    read_json,
    read_text,
    write_arrays,
    write_json,
    write_text,
)
from peerlearn.locks import Hold, held, is_lock
from peerlearn.plain_yaml import read_yaml, to_yaml
from peerlearn.provenance import environment

VERSION = 3
"""Of checkpoints; raised whenever what they hold, or its order, changes."""
State = dict[str, Any]
Complete = Callable[[dict[str, Any]], dict[str, Any]]
About = Callable[[str], Mapping[str, Any]]

#: Of files that a run writes, what `write_atomically` calls them until they are whole.
TEMPORARY = re.compile(
    r"\.((config\.yaml|(env|results|data|fingerprint|cells)\.json|metrics\.jsonl|(gallery|rows)\.npz)"
    r"|.+\.safetensors)\.[a-z0-9_]{8}"
)
#: And what safetensors calls what it writes, beside that.
TEMPORARY_WEIGHTS = re.compile(r"\.tmp[A-Za-z0-9]{6}")


class RunFolder:
    """`config.yaml`, `env.json`, `metrics.jsonl`, `results.json`, `checkpoints/{last,best}/`.

    And `rows.npz`: what every test row scored (see `peerlearn.row_scores`); `data.json`: what the
    trained networks must know of their data; and
    `gallery.npz`, where there are images: a few with masks and what every peer makes of them, or
    some of every cluster.

    `about` is asked what the header of a peer's file of weights shall say of its network and data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: About = lambda peer: {}
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.results = path / "results.json"
        self.rows = path / "rows.npz"
        self.info = path / "data.json"
        self.fingerprint = path / "fingerprint.json"
        self.gallery = path / "gallery.npz"
        self.last = path / "checkpoints" / "last" / "state.safetensors"
        self._hold: Hold | None = None
        self._moved: tuple[Sequence[str], dict[str, Any]] = (), {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Write the folder in this block, and nobody else does; see `peerlearn.locks`.

        Raises InputError: another process writes it; RunError: the lock cannot be written.
        """
        with held(self.path) as self._hold:
            try:
                yield
            finally:
                self._hold = None

    def best(self, peer: str) -> Path:
        """The file of a peer's selected weights."""
        return self.path / "checkpoints" / "best" / f"{peer}.safetensors"

    def finished(self, config: dict[str, Any], complete: Complete = lambda before: before) -> bool:
        """Whether the folder holds the results of this run, with as many epochs.

        `complete` fills the folder's configuration with the defaults of options that did not exist
        when it was written.

        Raises InputError: the folder holds a run that was started with another configuration (names
        every key that differs).
        """
        if not (self.config.exists() and self.results.exists()):
            return False
        before = complete(read_yaml(self.config))
        grown = check_same(self.path, before, config, self._movable)
        # Whether data at another place are the same is known once they are read: `found_moved`.
        return not grown and not moved_words(self.path, before, config)

    def found_moved(
        self,
        config: dict[str, Any],
        now: Fingerprint,
        complete: Complete = lambda before: before,
    ) -> bool:
        """Whether the folder holds the results of this run, whose data are at another place now.

        Then it knows that place afterwards.

        Raises InputError: as `finished` and `check_data`.
        """
        if not (self.config.exists() and self.results.exists()):
            return False
        if check_same(self.path, complete(read_yaml(self.config)), config, self._movable):
            return False
        self.open(config, True, complete)
        self.check_data(now)
        return True

    def open(
        self, config: dict[str, Any], resume: bool, complete: Complete = lambda before: before
    ) -> Growth:
        """Start the folder, or continue it where `resume` allows it; `complete` as in `finished`.

        A run may be continued with more epochs than it was started with, in stages that are not
        over or that nothing comes after; those are what is returned.

        Raises InputError: the folder holds a run and `resume` is off; or the run in it was started
        with another configuration.
        """
        if shown(str(self.path)) != str(self.path):  # files of weights have no other names
            raise InputError(f"{self.path}: the name of a run folder must be UTF-8")
        if self.config.exists():
            if not resume:
                raise holds(self.path, "a run")
            for path in (self.metrics, self.last, self.best("any")):
                check_inside(self.path, path.parent)
                check_inside(self.path, path)
            self._sweep()
            before = complete(read_yaml(self.config))
            grown = check_same(self.path, before, config, self._movable)
            words = moved_words(self.path, before, config)
            config = anchored(config, before, begun_in(self.path))
            self._moved = words, config
            if grown:
                check_growth(grown, self.metrics)
                self.results.unlink(missing_ok=True)  # first: they are not those of what follows
                self.rows.unlink(missing_ok=True)
                self._write_config(config)
            return grown
        # A start that got no further than env.json has left nothing behind that counts.
        found = contents(self.path)
        if found - {"env.json"} and not resume:
            raise not_empty(self.path)
        self._sweep()
        write_json(self.path / "env.json", environment())
        self._write_config(config)
        return {}

    def check_data(self, now: Fingerprint) -> None:
        """See that the folder is continued with the data that it was started with; or keep them.

        A run of a version that did not keep them goes on.

        Raises InputError: says what changed.
        """
        if said := self.data_changes(now):
            raise data_changed(self.path, [*self._moved[0], *said])
        if self._moved[0]:  # the same data at another place
            self._write_config(self._moved[1])
        if not any(each.exists() for each in (self.fingerprint, self.last, self.metrics)):
            write_json(self.fingerprint, now)

    @property
    def knows_data(self) -> bool:
        """Whether it is known what the data were, wherever they are."""
        return self.fingerprint.exists() and bool(read_json(self.fingerprint))

    @property
    def _movable(self) -> tuple[str, ...]:
        """Keys of the configuration that name files of which it is known what they were."""
        return (*PLACES, *files_of(read_json(self.fingerprint))) if self.knows_data else ()

    def data_changes(self, now: Fingerprint) -> list[str]:
        """What is different about the data now, in words; nothing where nobody knows.

        Raises InputError: what was kept of them is damaged.
        """
        if not self.fingerprint.exists():
            return []
        try:
            return changes(read_json(self.fingerprint), now)
        except (AttributeError, KeyError, TypeError):  # JSON, but not what `check_data` writes
            raise InputError(
                f"{self.fingerprint}: holds no fingerprints of data; put a good copy of it there, "
                "or delete it to go on without knowing whether the data changed"
            ) from None

    def log(self, record: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`.

        Raises RunError: the file cannot be written.
        """
        self._check_hold()
        try:
            with self.metrics.open("a", encoding="utf-8") as lines:
                lines.write(json_line(record))
        except OSError as error:
            raise cannot_write(self.metrics, error) from error

    def keep_metrics(self, records: int) -> None:
        """Drop every line after the first `records`: the run goes on from there."""
        if self.metrics.exists():
            lines = read_text(self.metrics).splitlines(keepends=True)
            if len(lines) > records:
                write_text(self.metrics, "".join(lines[:records]))

    def save_last(self, state: State) -> None:
        """Write the state to continue from."""
        self._check_hold()
        save_state(self.last, state)

    def load_last(self) -> State | None:
        """The state to continue from, if there is one.

        Raises InputError: the file is damaged, or of another version; says how to go on.
        """
        if not self.last.exists():
            return None
        try:
            state = load_state(self.last)
        except InputError as error:
            raise InputError(
                f"{error}; put a good copy of it there, or delete it to train from the beginning"
            ) from None
        if (found := state.get("version", 1)) != VERSION:
            raise InputError(
                f"{self.last}: the run was begun by another version of peerlearn (checkpoint "
                f"version {found}, this one reads {VERSION}); delete checkpoints/last to train "
                "from the beginning"
            )
        return state

    def save_best(self, peer: str, weights: Mapping[str, Tensor], about: dict[str, Any]) -> None:
        """Write a peer's selected weights with what is known of them; see `weight_files`."""
        self._check_hold()
        said = {"peer": peer, **self.about(peer), **about}
        write_weights(self.best(peer), weights, said)

    def save_gallery(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write arrays to be looked at."""
        write_arrays(self.gallery, arrays)

    def load_best(self, peer: str) -> dict[str, Tensor]:
        """A peer's selected weights. Raises InputError: they are not there, or damaged."""
        return read_weights(self.best(peer))

    def _write_config(self, config: dict[str, Any]) -> None:
        write_text(self.config, to_yaml(config))

    def _sweep(self) -> None:
        """Take away what a killed process was writing."""
        weights = self.path.glob("checkpoints/*/.*")
        left = [path for path in weights if TEMPORARY_WEIGHTS.fullmatch(path.name)]
        for pattern in (".*", "checkpoints/*/.*"):
            left += [it for it in self.path.glob(pattern) if TEMPORARY.fullmatch(it.name)]
        for path in left:
            path.unlink(missing_ok=True)

    def _check_hold(self) -> None:
        if self._hold is not None:
            self._hold.check()


def contents(folder: Path) -> set[str]:
    """Names of what is in a folder, but for locks and what a killed process was writing.

    None where it does not exist.
    """
    found = folder.iterdir() if folder.exists() else ()
    return {p.name for p in found if not is_lock(p) and not TEMPORARY.fullmatch(p.name)}
