"""`peerlearn attack`: data with a backdoor in them, to test defences on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peerlearn.cli.options import check_out_file

if TYPE_CHECKING:
    from torch import Tensor

    from peerlearn.data.datasets import Dataset
    from peerlearn.data.spec import DataSpec
    from peerlearn.systems.backdoor.attacks.base import Attack
    from peerlearn.systems.backdoor.attacks.poisoning import Poisoned

DATA, DATA_KEYS = "data.", ("train_size", "split_seed", "root", "size", "fit", "classes", "damaged")
"""Before keys that say which of the data are used; the others are options of the attack."""
KINDS = (
    "badnets", "blended", "sig", "label_consistent", "wanet", "input_aware", "trojan", "lf",
    "narcissus",
)  # fmt: skip
"""Of attacks, for `--help`, which must not import what they need."""
CHUNK = 4096
"""Images that are compared at once."""


def attack(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="As --data of `run`: images of whole numbers.", show_default=False
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Options of the attack, such as target=3 ratio=0.05; also data.train_size=1000.",
        ),
    ] = None,
    *,
    kind: Annotated[
        str, typer.Option(help=f"Which attack: {', '.join(KINDS)}.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The .npz file to write.", show_default=False)],
    seed: Annotated[
        int, typer.Option(min=0, help="Key of which rows are poisoned, and of triggers.")
    ] = 0,
    clean: Annotated[
        float,
        typer.Option(help="Rows that stay clean: a fraction of the training rows, or a count."),
    ] = 0.05,
    surrogate: Annotated[
        str, typer.Option(help="The attacker's network, where an attack trains one.")
    ] = "resnet8",
) -> None:
    """Poison training images with a backdoor, and write them to a file for `run --data`.

    The file also holds clean rows (x_val), clean test rows, and test rows with the trigger; and it
    says that it is poisoned to whoever trains on it.
    """
    from peerlearn.cli.progress import EpochProgress
    from peerlearn.cli.screen import folded
    from peerlearn.data.npz import write_npz
    from peerlearn.systems.backdoor.attacks.poisoning import poison
    from peerlearn.systems.backdoor.attacks.preparing import data_to_poison
    from peerlearn.systems.backdoor.attacks.saved import poisoned_arrays
    from peerlearn.systems.backdoor.attacks.surrogate import trained_surrogate
    from peerlearn.systems.overrides import parse_assignments

    _check_out(out, data)
    parsed = parse_assignments(options or [])
    chosen = _chosen(kind, {key: it for key, it in parsed.items() if not key.startswith(DATA)})
    spec = _data_spec(data, {key: it for key, it in parsed.items() if key.startswith(DATA)})
    before = data_to_poison(spec, _checked(clean), "--clean")
    with EpochProgress(getattr(chosen, "epochs", 0)) as progress:
        observe = progress.observe
        train = trained_surrogate(surrogate, None, seed, observe=observe, field="--surrogate")
        made = poison(before, chosen, seed, train, field="")
    write_npz(out, poisoned_arrays(made, chosen))
    for line in (*before.account.lines(), *what_was_done(before, made, chosen)):
        print("\n".join(folded(line)))
    print(f"{out}: marked as poisoned by attack {kind!r}, as whoever trains on it is told")


def _check_out(out: Path, data: str) -> None:
    """InputError where the file cannot be written, or would take the place of the data."""
    from peerlearn.errors import InputError
    from peerlearn.files import resolved

    if out.suffix.lower() != ".npz":
        raise InputError(f"--out {out}: poisoned data are written to a file that ends in .npz")
    check_out_file(out)
    if out.exists() and resolved(out) == resolved(Path(data).expanduser()):
        raise InputError(f"--out {out}: is the file of the clean data; choose another name")


def _checked(clean: float) -> float:
    """The number of clean rows, or their share; InputError where it is neither."""
    from peerlearn.data.spec import fraction_or_count
    from peerlearn.errors import InputError

    try:
        if not clean > 0:
            raise ValueError(f"found {clean:g}; allowed: a fraction below 1, or a number of rows")
        return fraction_or_count(clean)
    except ValueError as error:
        raise InputError(f"--clean: {error}") from None


def _chosen(kind: str, options: dict[str, Any]) -> "Attack":
    """The attack with its options. Raises InputError: unknown, or an option that is not allowed."""
    from peerlearn.errors import InputError
    from peerlearn.systems.backdoor.attacks import ATTACKS
    from peerlearn.systems.backdoor.choice import chosen_by

    if "kind" in options:
        raise InputError("kind: say it with --kind")
    try:
        made: Attack = chosen_by("kind", ATTACKS)({"kind": kind, **options})
    except ValueError as error:
        said = str(error)
        raise InputError(f"--{said}" if said.startswith("kind: ") else said) from None
    return made


def _data_spec(name: str, options: dict[str, Any]) -> "DataSpec":
    """Which data. Raises InputError: a key that is not allowed here, or its value."""
    from peerlearn.data.spec import DataSpec
    from peerlearn.errors import InputError, unknown_name
    from peerlearn.validation import validated

    if f"{DATA}val_size" in options:
        raise InputError(f"{DATA}val_size: say it with --clean")
    for key in options:
        if key.removeprefix(DATA) not in DATA_KEYS:
            raise unknown_name("key", key, [DATA + each for each in DATA_KEYS])
    given = {key.removeprefix(DATA): it for key, it in options.items()}
    return validated(DataSpec, {"name": name, **given}, "data")


def what_was_done(before: "Dataset", made: "Poisoned", attack: "Attack") -> list[str]:
    """Sentences about what an attack did to data."""
    from peerlearn.data.account import counted

    train, rows, names = before.train, made.poisoned, before.class_names
    count, own = int(rows.sum()), int((train.y[rows] == made.data.train.y[rows]).sum())
    target = f"class {names[attack.target]!r}"
    what = "every class becomes the next one" if attack.to == "all" else f"become {target}"
    if attack.clean_label:
        what = f"all of {target}, which keep their label"
    elif own:
        what += f", of which {own:,} were of it before"
    lines = [f"{attack.kind} poisoned {count:,} of {len(train):,} training rows: {what}"]
    if made.decoys.any():
        lines.append(
            f"decoys: {counted(int(made.decoys.sum()), 'further training row')} with a changed "
            "image and their own label"
        )
    lines.append(f"poisoned images: {_size(made.data.train.x[rows], train.x[rows])}")
    shown = before.test.x[made.sources]
    lines.append(
        f"test images with the trigger: {len(shown):,} of {len(before.test):,}, the others are of "
        f"the class that they are to be taken for; {_size(made.triggered.x, shown)}"
    )
    lines.append(f"clean rows: {len(before.val):,} (x_val, y_val)")
    return lines


def _size(changed_NCHW: "Tensor", before_NCHW: "Tensor") -> str:
    """How much images were changed."""
    if not len(before_NCHW):
        return "none"
    changes = [
        (one.float() - other.float()).abs()
        for one, other in zip(changed_NCHW.split(CHUNK), before_NCHW.split(CHUNK), strict=True)
    ]
    largest = max(float(each.max()) for each in changes)
    square = sum(float(each.double().square().sum()) for each in changes) / before_NCHW.numel()
    return f"pixels change by at most {largest:g} of 255, mean square {square:.4g}"
