"""Tables of attacks × defences say what is in the comparisons."""

from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.backdoor.suspicion import suspicion_markdown
from benchmarks.backdoor.tables import (
    attack_of,
    attacks_markdown,
    defences_markdown,
    purified_markdown,
    rivals_markdown,
    share_of,
    shares_markdown,
)


def compared(arms: Mapping[str, tuple[float, float, float, float]], seeds: int = 3) -> Any:
    """A comparison whose arms have these ACC, ASR, RA and DER, a little more with every seed."""

    def arm(number: int, values: tuple[float, ...]) -> dict[str, Any]:
        metrics = dict(zip(("acc", "asr", "ra", "der"), values, strict=True))
        metrics["accuracy"] = metrics["acc"]
        spread = 0.001 * (number + 1)
        return {
            "mean_peer": {
                name: {"values": [value + spread * seed for seed in range(seeds)]}
                for name, value in metrics.items()
            }
        }

    blocks = {name: arm(number, values) for number, (name, values) in enumerate(arms.items())}
    return {"seeds": list(range(seeds)), "arms": blocks}


ARMS = {
    "none": (0.9, 0.95, 0.05, 0.5),
    "ft": (0.9, 0.9, 0.1, 0.525),
    "nt-ml": (0.88, 0.05, 0.8, 0.94),
    "nt-ml-sel": (0.86, 0.01, 0.85, 0.95),
}
OTHER = ARMS | {"nt-ml": (0.86, 0.45, 0.4, 0.73), "none": (0.9, 0.75, 0.05, 0.5)}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows_of(table: str) -> dict[str, list[str]]:
    """The cells of every line, by the first."""
    found = [cells(line) for line in table.splitlines() if line.startswith("|")]
    assert {len(row) for row in found} == {len(found[0])}, "every line is as wide as the head"
    return {row[0]: row[1:] for row in found}


def test_attacks_that_do_not_work_are_marked() -> None:
    clean = {"x-clean": compared({"none": (0.92, 0, 0, 0)})}
    weak, strong = compared({"none": OTHER["none"]}), compared({"none": ARMS["none"]})
    rows = rows_of(
        attacks_markdown(clean | {"x-badnets": strong, "x-blended": weak, "x-sig": weak})
    )
    assert rows["`badnets`"][0].startswith("90.1 ±")
    assert rows["`badnets`"][1].startswith("2.0 ±"), "points of ACC that the attack costs"
    works = {attack: row[-1] for attack, row in rows.items()}
    assert works["`badnets`"] == "yes"
    assert works["`blended`"] == "**no**", "75 % where labels are changed"
    assert works["`sig`"] == "yes", "75 % where labels stay"
    clean["x-clean"] = compared({"none": (0.97, 0, 0, 0)})
    assert rows_of(attacks_markdown(clean | {"x-badnets": strong}))["`badnets`"][-1] == "**no**"
    assert rows_of(attacks_markdown({"x-badnets": strong}))["`badnets`"][1] == "–"


def test_every_arm_stands_under_every_attack_and_in_the_mean() -> None:
    table = defences_markdown({"x-badnets": compared(ARMS), "x-blended": compared(OTHER)})
    row = rows_of(table)["`nt-ml`"]
    assert row[0] == "ACC<br>ASR<br>RA<br>DER"
    asr = [cell.split("<br>")[1] for cell in row[1:]]
    assert asr == ["5.3 ± 0.3", "45.3 ± 0.3", "25.3 ± 0.3"]
    assert "n = 3 seeds" in table


@pytest.mark.parametrize(
    ("other", "message"),
    [(compared(OTHER, seeds=2), "other seeds"), (compared({"none": ARMS["none"]}), "other arms")],
)
def test_unlike_comparisons_are_not_averaged_over(other: Any, message: str) -> None:
    for markdown in (defences_markdown, rivals_markdown):
        with pytest.raises(ValueError, match=message):
            markdown({"x-badnets": compared(ARMS), "x-blended": other})


def test_ours_are_paired_with_every_rival_and_with_each_other_once() -> None:
    rows = rows_of(rivals_markdown({"x-badnets": compared(ARMS), "x-blended": compared(OTHER)}))
    assert [*rows][2:] == [
        "`nt-ml` − `none`",
        "`nt-ml` − `ft`",
        "`nt-ml` − `nt-ml-sel`",
        "`nt-ml-sel` − `none`",
        "`nt-ml-sel` − `ft`",
    ]
    acc, asr, _, der = rows["`nt-ml-sel` − `ft`"]
    assert der.startswith("**+42.7** ["), "DER is tested"
    assert acc.startswith("-3.8 [") and asr.startswith("-88.8 ["), "others are not"


def test_shares_of_clean_rows_are_in_their_order() -> None:
    few = {name: ARMS[name] for name in ("none", "nt-ml")}
    found = {
        "x-badnets-10pct": compared(few, seeds=2),
        "x-badnets": compared(ARMS),
        "x-badnets-2.5pct": compared(few | {"nt-ml": OTHER["nt-ml"]}, seeds=2),
        "x-sig-2.5pct": compared(few, seeds=2),
    }
    table = shares_markdown(found)
    head, _, none, ours, other, _ = [cells(line) for line in table.splitlines()[:6]]
    assert head[3:] == ["2.5 % clean", "5 % clean", "10 % clean"]
    assert none[:2] == ["`badnets`", "`none`"] and ours[:2] == ["`badnets`", "`nt-ml`"]
    assert [cell.split("<br>")[1][:4] for cell in ours[3:]] == ["45.1", "5.3 ", "5.1 "]
    assert other[:2] == ["`sig`", "`none`"] and other[4:] == ["–", "–"]
    assert "n = 2 or 3 seeds" in table
    with pytest.raises(ValueError, match="5 % of clean rows twice"):
        shares_markdown({"x-badnets": compared(ARMS), "x-badnets-5pct": compared(ARMS)})


def test_the_name_of_a_file_says_its_attack() -> None:
    assert attack_of("fashion-mnist-label_consistent") == "label_consistent"
    assert (attack_of("x-sig-2.5pct"), share_of("x-sig-2.5pct")) == ("sig", "2.5")
    with pytest.raises(ValueError, match="expected DATA-ATTACK"):
        attack_of("x-badnet")


def test_what_was_purified_is_held_against_the_bar() -> None:
    def network(attack: str, **after: float) -> dict[str, Any]:
        asr = None if attack == "clean" else 0.99
        given = {"acc": 0.9, "asr": asr, "ra": asr and 1 - asr}
        sizes = {"rows": 5000, "clean_rows": 100, "test_rows": 2000, "seed": 0}
        left = {"asr": None, "ra": None} | after
        return {"attack": attack, "given": given, "purified": {"nt-ml": left}, **sizes}

    def bars(*networks: dict[str, Any]) -> list[str]:
        found = {"data": "x", "art": "1.2.3", "networks": networks}
        table = purified_markdown(found)
        assert "5,000 training rows, 100 clean ones" in table and "ART 1.2.3" in table
        return [cells(line)[-1] for line in table.splitlines() if line.startswith("| x")]

    assert bars(
        network("pattern", acc=0.88, asr=0.09, ra=0.8),
        network("single", acc=0.88, asr=0.11, ra=0.8),
        network("clean-label", acc=0.86, asr=0.01, ra=0.8),
        network("clean", acc=0.895),
    ) == ["yes", "**no**", "**no**", "yes"]
    assert bars(network("clean", acc=0.88)) == ["**no**"], "2 points of a network without backdoor"


def test_alarms_are_counted_of_clean_and_of_poisoned_networks() -> None:
    def network(target: int | None, suspect: int | None) -> dict[str, Any]:
        asr, index = (None, 1.25) if target is None else (0.5, 4.5)
        found = {"suspect": suspect, "index": index, "alarm": 3.54}
        return {"target": target, "accuracy": 0.75, "asr": asr, **found}

    networks = [network(None, 1), network(None, None), network(2, 2), network(3, 2)]
    table = suspicion_markdown({"options": {"data": "x", "model": "net"}, "networks": networks})
    rows = rows_of(table.partition("\n\n")[0])
    assert [cell.split(",")[0] for cell in rows["clean"]] == ["1 of 2", "", "at most 1.2"]
    assert [cell.split(",")[0] for cell in rows["poisoned"]] == ["2 of 2", "1 of 2", "at least 4.5"]
    assert "whose ASR is 50.0%" in table
