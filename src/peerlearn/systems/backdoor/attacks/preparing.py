"""Data made ready for an attack: some rows are set aside first, which stay clean."""

from peerlearn.data.account import Account
from peerlearn.data.datasets import Dataset
from peerlearn.data.registry import built, check_classes, image_form, read_source
from peerlearn.data.spec import DataSpec
from peerlearn.data.splits import hold_out, proportional_shares, stratified_rows
from peerlearn.errors import InputError


def data_to_poison(spec: DataSpec, clean: float, field: str = "clean") -> Dataset:
    """The data of a `data` block with clean rows for whoever defends as `val`, all in memory.

    These are rows of val where the data have such, and else held out of train, in the proportions
    of the classes; the choice is keyed by `spec.split_seed`.

    Args:
        spec: which data; what it says of validation and of memory does not count.
        clean: how many clean rows: a fraction of the training rows that are used, or a count.
        field: what messages call it.

    Raises InputError: as `load_dataset`, or there are not so many rows.
    """
    source = read_source(spec.name, spec.root, image_form(spec), spec.classes)
    check_classes(source, spec, spec.name)
    notes: tuple[str, ...] = ()
    if source.test is None:
        train, test = hold_out(source.train, 0.1, spec.split_seed, "test")
        source = source._replace(train=train, test=test)
        notes += (f"no test: {len(test):,} of train are held out for it",)
    used = min(spec.train_size or len(source.train), len(source.train))
    count = int(clean) if clean >= 1 else max(1, round(clean * used))
    if count < source.classes:
        raise InputError(
            f"{field}: {count} clean rows for {source.classes} classes; at least one of each is "
            "needed"
        )
    if source.val is None:
        train, val = hold_out(source.train, count, spec.split_seed, "val", field)
        notes += (f"clean rows: {len(val):,} of train are held out",)
    else:
        train, there = source.train, len(source.val)
        if count > there:
            raise InputError(
                f"{field}: {clean:g} asks for {count:,} clean rows; allowed: up to {there:,}, for "
                "they are taken of val"
            )
        chosen = stratified_rows(
            source.val.strata, count, spec.split_seed, "val", proportional_shares
        )
        val = source.val.select(chosen)
        if count < there:
            notes += (f"clean rows: {count:,} of {there:,} of val; the others are left out",)
    account = source.account + Account(notes=notes)
    source = source._replace(train=train, val=val, account=account)
    return built(Dataset, source, divided_already(spec))


def divided_already(spec: DataSpec) -> DataSpec:
    """The same choices, for data whose parts are all there: nothing is held out or left out of val.

    All is in memory, where an attack changes it.
    """
    usual = type(spec).model_fields["val_size"].default
    own = {"val_size": usual, "val_labels": "all", "in_memory": True}
    return spec.model_copy(update=own)
