"""Clean rows from a data set of their own: few images that somebody has looked at."""

from dataclasses import replace
from math import ceil
from pathlib import Path

from peerlearn.data.account import Account, counted, some
from peerlearn.data.arrays import KEYS, check_names, source_from_arrays
from peerlearn.data.catalogue import npz_at
from peerlearn.data.datasets import Dataset, Source, Split, renumbered
from peerlearn.data.image_folder import read_image_folder
from peerlearn.data.npz import array_names, not_read, read_arrays
from peerlearn.data.overlap import shared_rows
from peerlearn.data.registry import DATASETS, built, check_classes, image_form
from peerlearn.data.spec import DataSpec
from peerlearn.data.splits import hold_out
from peerlearn.errors import InputError
from peerlearn.objectives.labels import labelled_rows
from peerlearn.reading.class_names import Names, matched_classes
from peerlearn.systems.backdoor.attacks.preparing import divided_already
from peerlearn.systems.backdoor.attacks.saved import marked_by
from peerlearn.systems.backdoor.config import BackdoorData

SHORT = {"x_train": "x", "y_train": "y"}
"""What the only arrays of a file may be called."""
NEEDED = ("x_train", "y_train")
FIELD = "data.clean_from"


def training_rows(spec: BackdoorData) -> Dataset:
    """The data of `spec.name`, of which no row is taken for clean: these are of another source.

    They need training rows alone. Without test rows `test` is empty, unless an attack is to show
    its trigger on some, which are held out of train then. `val` is empty; all is in memory.

    Raises InputError: as `load_dataset`; or a number of classes that is not that of the data.
    """
    source = rows_of(spec.name, spec, "data.name")
    check_classes(source, spec, f"data.name {spec.name}")
    train, test, notes = source.train, source.test, []
    if test is None and spec.attack is not None:
        train, test = hold_out(train, 0.1, spec.split_seed, "test")
        notes.append(f"no test: {len(test):,} of train are held out for it")
    if source.val is not None and spec.name != spec.clean_from:
        what = "they are not learned from, and not known to be clean"
        notes.append(f"{counted(len(source.val), 'row')} of val left out: {what}")
    nothing = train.select(labelled_rows(train.y).nonzero()[:0, 0])
    account = source.account + Account(notes=tuple(notes))
    whole = source._replace(train=train, val=nothing, test=test or nothing, account=account)
    settled = divided_already(spec)
    if Path(spec.clean_from or "").expanduser().is_dir():
        settled = settled.model_copy(update={"size": None})  # for the images of that folder
    return built(Dataset, whole, settled)


def with_clean_rows(data: Dataset, spec: BackdoorData) -> Dataset:
    """The same data with the rows of `spec.clean_from` as `val`, under the data's own classes.

    Classes are told by their names, or by their numbers where one side has no names; some of them
    may have no clean row, which is told.

    Raises InputError: no such rows, rows of a file that an attack poisoned, or rows that do not fit
    the data or are too few.
    """
    assert spec.clean_from is not None, "asked by whoever has such rows"
    where = f"{FIELD}: {spec.clean_from}"
    source = rows_of(spec.clean_from, spec, FIELD, trusted=True)
    check_classes(source, spec, f"{FIELD} {spec.clean_from}")
    clean, notes = source.train.decoded(), []
    _check_alike(clean, data, where, source.multilabel)
    made_up = tuple(map(str, range(source.classes)))
    own = Names(source.class_names or made_up, bool(source.class_names))
    names = Names(data.class_names, bool(data.named))
    places, said = matched_classes(names, own, where, by="the training rows have")
    notes += [said] if said else []
    known = labelled_rows(clean.y).nonzero()[:, 0]
    if len(known) < len(clean):
        notes.append(f"{where}: {counted(len(clean) - len(known), 'row')} without a label left out")
    clean = clean.select(known)
    clean = clean.with_labels(renumbered(clean.y, places))
    if len(clean) <= data.classes:
        raise InputError(
            f"{where}: {counted(len(clean), 'clean row')} for {data.classes} classes; allowed: "
            f"{_fewest(data.classes, spec.held_out)} or more, for one of each class is needed "
            f"beside those that are held out (data.held_out: {spec.held_out:g})"
        )
    there = set(clean.y.tolist())
    if lacking := [name for number, name in enumerate(data.class_names) if number not in there]:
        notes.append(f"{where}: no clean row of {some(lacking, 10)}")
    other = spec.name != spec.clean_from
    parts = {"train": data.train, "clean": clean} if other else {}
    account = (source.account if other else Account()) + Account(
        notes=(*notes, *shared_rows(parts), f"clean rows: all {len(clean):,} of {spec.clean_from}")
    )
    return replace(data, val=clean, account=data.account + account)


def rows_of(name: str, spec: DataSpec, field: str, *, trusted: bool = False) -> Source[Split]:
    """All rows of a data set by name or path, which needs training rows alone.

    A file without parts has `x` and `y`. Messages call the name `field`. `trusted` says that the
    training rows are taken for clean, so no file may be marked as poisoned.

    Raises InputError: as `read_source`, or a file that is marked so.
    """
    form = image_form(spec)

    def at(path: Path) -> Source[Split]:
        if path.is_dir():
            return read_image_folder(path, form)
        npz_at(path, "a folder with train/CLASS/*.png, or CLASS/*.png", f"{field}: {path}")
        if trusted:
            _check_unmarked(path, field)
        names = array_names(path)
        short = {it: key for key, it in SHORT.items() if it in names and key not in names}
        found = {short.get(each, each): each for each in names}
        check_names(found, str(path), required=NEEDED)
        read = {key: found[key] for key in KEYS if key in found}
        arrays = read_arrays(path, read.values())
        by_key = {key: arrays[each] for key, each in read.items()}
        source = source_from_arrays(by_key, str(path), spec.classes, NEEDED)
        return source._replace(account=source.account + not_read(path, read.values()))

    return DATASETS.read(name, spec.root, at, field)


def _fewest(classes: int, held_out: float) -> int:
    """Clean rows of which one of each class is left when some are held out."""
    if held_out >= 1:
        return classes + int(held_out)
    return max(classes + 1, ceil(classes / (1 - held_out)))


def _check_unmarked(path: Path, field: str) -> None:
    if by := marked_by(path):
        raise InputError(
            f"{field}: {path}: is marked as poisoned by {by}, so its x_train are no clean rows; "
            "allowed: rows that you trust, such as its x_val and y_val, saved as x and y of a file "
            "of their own"
        )


def _check_alike(clean: Split, data: Dataset, where: str, several: bool) -> None:
    if several:
        raise InputError(f"{where}: rows have several labels; one is needed")
    if clean.sample_shape != data.sample_shape:
        raise InputError(
            f"{where}: rows of shape {clean.sample_shape}; the training rows, of {data.name!r}, "
            f"have {data.sample_shape}, and networks read one shape"
        )
    if clean.x.dtype != data.train.x.dtype:
        kinds = (str(each.x.dtype).removeprefix("torch.") for each in (clean, data.train))
        found, needed = kinds
        raise InputError(
            f"{where}: rows are {found}, the training rows, of {data.name!r}, {needed}; uint8 is "
            "scaled to [0, 1] and float is not"
        )
