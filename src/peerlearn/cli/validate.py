"""`peerlearn validate`: everything that is wrong with a configuration, before anything runs."""

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from peerlearn.cli.options import (
    DataOption,
    OverridesArgument,
    RecipeArgument,
    TrustOption,
    gathered_overrides,
)

if TYPE_CHECKING:
    from peerlearn.engine.description import Facts
    from peerlearn.systems.recipe import Recipe
    from peerlearn.tasks.kept_data import DataKeeper


def validate(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    data: DataOption = None,
    trust: TrustOption = False,
) -> None:
    """Check a recipe or a YAML file: keys, data, models and edges of every arm.

    A file is data: code that it names by python:MODULE:NAME is not run unless --trust allows it.
    """
    from peerlearn.cli.head import head
    from peerlearn.cli.screen import screen_width
    from peerlearn.importing import code_in
    from peerlearn.systems.registry import find_recipe

    found, given = find_recipe(recipe, trust=True)
    changes = gathered_overrides(overrides, data)
    typed = set(code_in(changes).values())
    foreign = {
        field: name for field, name in code_in(given).items() if name not in typed and not trust
    }
    facts, faults = checked_arms(found, given, changes, set(foreign.values()))
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        lines = [f"peerlearn: {recipe}: {count}", *(f"  {fault}" for fault in faults)]
        lines += [f"mend this, then try again: peerlearn {_typed()}"]
        print("\n".join(lines), file=sys.stderr)
        raise SystemExit(2)
    if foreign:
        print(f"{recipe}: ok, but for code that it names, which was not run:")
        print("\n".join(f"  not built: {field}: {name}" for field, name in foreign.items()))
        print("read it, then check it too: --trust")
        return
    print(f"{recipe}: ok")
    for line in head(facts, screen_width() - 2, found.name):
        print(f"  {line}")
    print(f"train it: peerlearn {_typed('run')}")


def checked_arms(
    recipe: "Recipe",
    given: Mapping[str, Any],
    changes: Mapping[str, Any],
    foreign: Collection[str] = (),
) -> tuple[dict[str, "Facts"], list[str]]:
    """What every arm would train, built but not run, and every fault that was found on the way.

    A fault that an arm brings with it begins with the name of the arm. What stands for `foreign`
    names of code is another network, or nothing.
    """
    from peerlearn.errors import InputError
    from peerlearn.importing import code_in, trusting
    from peerlearn.systems.overrides import apply_overrides
    from peerlearn.systems.stand_ins import without_kinds
    from peerlearn.tasks.kept_data import KeptData

    given = without_kinds(given, foreign)
    known = {*code_in(given).values(), *code_in(changes).values()} - set(foreign)
    try:
        config = apply_overrides(given, changes)
    except InputError as error:
        return {}, str(error).splitlines()
    arms, named = config.get("arms") or {}, config.get("arm")
    if not isinstance(arms, Mapping):
        return {}, [f"arms: expected a mapping of names to overrides; found {arms!r}"]
    if not isinstance(named, str | None):
        return {}, [f"arm: expected the name of an arm; found {named!r}"]
    facts: dict[str, Facts] = {}
    faults: dict[str, list[str | None]] = {}
    # The arm of the file may be one of those that are there, or one to be told of as unknown.
    chosen = [changes["arm"]] if "arm" in changes else list(dict.fromkeys([*arms, named]))
    chosen = [arm for arm in chosen if arm is not None] or [None]
    kept = KeptData()
    for arm in chosen:
        chosen_by = dict(changes) | ({"arm": arm} if arm else {})
        with trusting(known):
            trained, said = checked_arm(recipe, given, chosen_by, foreign, kept)
        if trained is not None:
            facts[arm or recipe.name] = trained
        for line in said:
            faults.setdefault(line, []).append(arm)
    return facts, [_with_arms(line, where, arms, chosen) for line, where in faults.items()]


def checked_arm(
    recipe: "Recipe",
    given: Mapping[str, Any],
    changes: Mapping[str, Any],
    foreign: Collection[str] = (),
    kept: "DataKeeper | None" = None,
) -> tuple["Facts | None", list[str]]:
    """What one arm would train, or everything that is wrong with it.

    `kept` has the data that other arms have read.

    Where a key is wrong, the others are still tried: a wrong model beside a misspelt key is told
    at once.
    """
    from peerlearn.engine.description import described
    from peerlearn.errors import Faults, InputError
    from peerlearn.systems.stand_ins import with_stand_ins

    def build(given: Mapping[str, Any], changes: Mapping[str, Any]) -> "Facts":
        config = with_stand_ins(recipe, recipe.resolve(given, changes), foreign)
        return described(recipe.build(config, kept))

    try:
        recipe.resolve(given, changes)
    except InputError as error:
        faults = Faults()
        faults.said = str(error).splitlines()
        with faults.gathered():
            left = _without(_first_keys(faults.said), given, changes, recipe.defaults()["peers"])
            build(*left)
        return None, list(dict.fromkeys(faults.said))
    try:
        return build(given, changes), []
    except InputError as error:
        return None, str(error).splitlines()


def _first_keys(lines: Sequence[str]) -> set[str]:
    return {line.partition(":")[0].partition(".")[0] for line in lines}


def _without(
    wrong: set[str], given: Mapping[str, Any], changes: Mapping[str, Any], peers: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and overrides without the keys that are wrong, and what holds in their place.

    Edges depend on peers, so neither is tried where one of them is wrong; one of the recipe's own
    `peers` then stands in.
    """

    wrong = wrong | ({"transfer"} if "peers" in wrong else set())
    wrong = wrong | ({"arm"} if "arms" in wrong else set())

    def kept(block: Any) -> Any:
        if not isinstance(block, Mapping):
            return block
        return {key: it for key, it in block.items() if str(key).partition(".")[0] not in wrong}

    left = kept(given)
    if isinstance(arms := left.get("arms"), Mapping):
        left["arms"] = {name: kept(block) for name, block in arms.items()}
    if "transfer" in wrong:
        left["transfer"] = "none"
    if "peers" in wrong:
        left["peers"] = {"stand-in": next(iter(peers.values()))}
    return left, kept(changes)


def _with_arms(
    line: str, where: Sequence[str | None], arms: Mapping[str, Any], chosen: Sequence[str | None]
) -> str:
    """The fault with the arms that bring it; an arm that overrides nothing brings none."""
    if len(where) == len(chosen) or not all(arm and arms.get(arm) for arm in where):
        return line
    return f"{', '.join(f'arms.{arm}' for arm in where)}: {line}"


def _typed(verb: str = "validate") -> str:
    """The command as typed, under another verb."""
    import shlex

    return shlex.join([verb, *sys.argv[2:]])
