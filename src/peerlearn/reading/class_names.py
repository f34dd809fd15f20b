"""Which classes of other data are which of a run: told by their names."""

from typing import NamedTuple, Self

from peerlearn.data.account import some
from peerlearn.data.classes import numbers
from peerlearn.data.info import DataInfo
from peerlearn.errors import InputError, did_you_mean


class Names(NamedTuple):
    """Names of classes, and whether they are more than numbers made up."""

    names: tuple[str, ...]
    given: bool

    @classmethod
    def of(cls, info: DataInfo) -> Self:
        """Those of data; of an older run they are taken for names where they look so."""
        made_up = tuple(map(str, range(info.classes)))
        given = info.class_names != made_up if info.named is None else info.named
        return cls(info.class_names, given)


def matched_classes(
    trained: Names,
    own: Names,
    where: str,
    all_of_them: bool = False,
    by: str = "the run was trained on",
) -> tuple[list[int], str | None]:
    """The class of a run that every class of other data is, and what is to be said of it.

    By name: data may have some of the run's classes, in any order. By number only where one side
    has no names, and not both are numbers: a label 7 is never class "3".

    Args:
        trained: of the run.
        own: of the other data.
        where: these are from, for messages.
        all_of_them: the data need every class of the run.
        by: what has the classes of the run, for messages.

    Raises InputError: classes that the run does not know.
    """
    known, names = trained.names, own.names
    unknown = [name for name in names if name not in known]
    if not unknown and (len(names) == len(known) or not all_of_them):
        return [known.index(name) for name in names], None
    if (own.given and trained.given) or (numbers(names) and numbers(known)):
        said = some(unknown or names, 10)
        hint = did_you_mean(unknown[0], known) if unknown else ""
        raise InputError(
            f"{where}: classes {said} are not those that {by}: {some(known, 10)}.{hint}"
        )
    if len(names) > len(known) or (len(names) != len(known) and all_of_them):
        raise InputError(
            f"{where}: {len(names)} classes, but {by} {len(known)}; they are matched by number, "
            "for one side has no names"
        )
    pairs = some([f"{a} is {b!r}" for a, b in zip(names, known, strict=False)], 4)
    return list(range(len(names))), (
        f"{where}: classes are matched by number, for one side has no names: {pairs}"
    )


def check_same_classes(trained: DataInfo, now: DataInfo) -> None:
    """Refuse data of a run that hold other classes now than when it was trained.

    Raises InputError: names both.
    """
    if now.class_names != trained.class_names:
        raise InputError(
            f"data.name: {now.name} holds classes {some(now.class_names, 10)} now, but the run was "
            f"trained on {some(trained.class_names, 10)}"
        )
