"""Every script of benchmarks/ runs, once and at its smallest size."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import peerlearn
from benchmarks.music.choose import chosen_markdown
from benchmarks.music.missing import missing_markdown
from benchmarks.music.newcomers import newcomers_markdown
from benchmarks.speed import page, processes
from benchmarks.speed.bench import worse
from benchmarks.speed.page import lines_of, measure, options, publish

ROOT = Path(__file__).parents[2]
#: The discovery recipe at a size that trains in a second.
TINY_DISCOVERY = {
    "data.train_size": 200,
    "stages.rotation.epochs": 1,
    "stages.supervised.epochs": 1,
    "epochs": 1,
    "batch_size": 64,
    "transfer.memory": 64,
    "threads": 1,
    "peers.global.arguments.width": 0.25,
}
#: On speed: whether they need real data.
ON_SPEED = {
    "speed/speed.py": False,
    "speed/jobs.py": False,
    "speed/share.py": False,
    "speed/bench.py": False,
    "speed/growth.py": False,
    "graph/speed.py": False,
    "styles/speed.py": True,
    "discovery/ranking.py": False,
    "bayesian/speed.py": False,
    "music/speed.py": False,
}
#: Of scripts whose sections are recipes that are all measured alike, some.
SOME = {
    "speed/share.py": ["dml-mlp", "gml-node"],
    "speed/bench.py": ["dml-mlp", "bayesian-torch"],
}
OTHERS = {
    "faults/fuzz.py": "tests/fuzz/test_fuzz_script.py",
    "write_tables.py": "test_pages_are_checked_by_the_script_too",
    "discovery/class_count.py": "test_classes_are_counted_in_a_finished_comparison",
    "speed/processes.py": "test_peers_in_processes_are_timed",
    "graph/memory.py": "a process of graph/speed.py",
    "speed/startup.py": "test_start_up_is_measured",
    "speed/large.py": "test_peaks_of_large_files_are_measured",
    "faults/lost_peers.py": "test_no_run_is_lost_where_peers_are_killed",
    "speed/staleness.py": "test_what_staleness_costs_is_measured",
    "faults/kills.py": "test_killed_runs_come_out_as_those_left_in_peace",
    "faults/grids.py": "test_disturbed_grids_come_out_as_those_left_in_peace",
    "intervals/simulate.py": "test_intervals_are_simulated",
    "backdoor/suspicion.py": "test_suspicion_is_counted_of_clean_and_of_poisoned_networks",
    "backdoor/with_art.py": "test_attacks_of_another_library_are_purified",
    "bayesian/exactness.py": "test_exactness_of_bayesian_layers_is_measured",
    "music/large.py": "a process of music/speed.py",
    "music/choose.py": "test_settings_are_tried_on_validation",
    "music/missing.py": "test_missing_modalities_and_cold_users_are_measured",
    "music/newcomers.py": "test_newcomers_are_suggested_something",
    "music/bars.py": "test_pairs_of_arms_are_read_from_a_finished_comparison",
    "music/against.py": "test_baselines_stand_beside_those_of_others",
    "music/cornac_models.py": "a process of music/against.py, in an environment with cornac",
}


def script(name: str, *arguments: object) -> str:
    """What a script prints; a failure shows what it says on stderr."""
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_script_is_left_out() -> None:
    found = {
        path.relative_to(ROOT / "benchmarks").as_posix()
        for path in (ROOT / "benchmarks").rglob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    }
    assert found == {*ON_SPEED, *OTHERS}


@pytest.mark.parametrize("name", ON_SPEED)
def test_a_script_on_speed_measures_every_section(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if ON_SPEED[name]:
        request.getfixturevalue("shared_data")
    out = tmp_path / "results.json"
    some = ["--only", *SOME[name]] if name in SOME else []
    script(name, "--smallest", "--out", out, *some)
    results = json.loads(out.read_text(encoding="utf-8"))
    assert all(section["rounds"] == 1 for section in results.values())
    measured = [line for line in lines_of(results) if "skipped" not in line]
    assert measured
    assert all(line["ratio"]["median"] > 0 for line in measured)


def test_a_section_takes_its_place_beside_those_that_were_measured_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "pin", lambda threads: [])  # this process has other things to do
    out = tmp_path / "speed.json"
    lines = {"one": [{"name": "first"}], "two": [{"name": "second"}], "three": [{"skipped": "why"}]}
    sections = {
        name: lambda arguments, found=found: {"lines": found} for name, found in lines.items()
    }

    def measured(*arguments: str) -> list[str]:
        given = options("", sections, out).parse_args(["--rounds", "3", *arguments])
        measure(given, sections)
        return [line.get("name", "skipped") for line in lines_of(json.loads(out.read_text()))]

    assert measured("--only", "two") == ["second"]
    assert measured("--only", "one", "three") == ["first", "second", "skipped"]
    lines["three"][0] |= {"name": "third"}
    del lines["three"][0]["skipped"]
    assert measured("--only", "three") == ["first", "second", "third"]
    lines["three"][:] = [{"skipped": "no longer there"}]
    assert measured() == ["first", "second", "third"], "what cannot be measured stays"


def test_a_ratio_that_got_worse_beyond_noise_is_found() -> None:
    def results(**ratios: tuple[float, float, float]) -> dict[str, Any]:
        lines = [
            {"name": name, "cpu_ratio": {"median": median, "ci95": [low, high]}}
            for name, (low, median, high) in ratios.items()
        ]
        return {"one": {"lines": [*lines, {"name": "absent", "skipped": "why"}]}}

    before = results(step=(1.0, 1.1, 1.2), other=(1.0, 1.1, 1.2), gone=(1, 1, 1))
    assert worse(results(step=(1.1, 1.3, 1.4), other=(1.21, 1.22, 1.23)), before) == [
        "other: 1.22, before 1.10"
    ]
    slightly = results(step=(1.0, 1.0, 1.0), new=(9, 9, 9), other=(1.201, 1.15, 1.3))
    assert worse(slightly, before) == []


def test_the_smallest_size_does_not_overwrite_what_was_measured(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    arguments = options("", {}, tmp_path / "speed.json").parse_args(["--smallest"])
    with pytest.raises(SystemExit, match="give another --out"):
        publish(arguments, readme, {}, str)
    assert not list(tmp_path.iterdir())


def test_pages_are_checked_by_the_script_too() -> None:
    assert script("write_tables.py", "--check") == "stale: none\n"


def test_killed_runs_come_out_as_those_left_in_peace(tmp_path: Path) -> None:
    out = tmp_path / "kills.json"
    script("faults/kills.py", "--smallest", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["kills"], found["runs_that_differ"]) == (2, 0)
    assert found["families"]["dml"]["kills"] == 2


def test_disturbed_grids_come_out_as_those_left_in_peace(tmp_path: Path) -> None:
    out = tmp_path / "grids.json"
    script("faults/grids.py", "--smallest", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["rounds"], found["rounds_that_differ"]) == (1, 0)
    assert found["grids"]["dml"]["starts"] >= 4


def test_peers_in_processes_are_timed(tmp_path: Path) -> None:
    out = tmp_path / "processes.json"
    printed = script("speed/processes.py", "--smallest", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["rounds"] == 1 and found["cases"].keys() <= set(processes.CASES)
    two = found["cases"]["2 peers, 2 processes"]
    assert two["met"] is (two["faster"]["median"] >= processes.TARGET)
    times = [took for size in found["exchanges"]["2"].values() for took in size.values()]
    assert len(times) == 4 and min(times) > 0 and "times as fast" in printed


def test_no_run_is_lost_where_peers_are_killed(tmp_path: Path) -> None:
    out = tmp_path / "lost.json"
    script("faults/lost_peers.py", "--smallest", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["kills"], found["lost"]) == (2, [])
    assert found["finished"] + found["abandoned"] == 3 * found["rounds"]


def test_what_staleness_costs_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "staleness.json"
    printed = script("speed/staleness.py", "--smallest", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["ways"].keys() == {"independent", "at every step", "snapshots every 5 steps"}
    assert all(0 < way["accuracy"]["mean"] <= 1 for way in found["ways"].values()), printed


def test_intervals_are_simulated(tmp_path: Path) -> None:
    out = tmp_path / "simulation.json"
    printed = script("intervals/simulate.py", "--smallest", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert {line["seeds"] for line in found["false"]} == {3, 5, 8}
    assert {line["metric"] for line in found["coverage"]} == {"accuracy", "nll", "brier", "ece"}
    assert all(0 <= line["marked"] <= 0.2 for line in found["false"])
    assert printed.startswith("| coverage")


def test_exactness_of_bayesian_layers_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "exactness.json"
    printed = script("bayesian/exactness.py", "--smallest", "--out", out)
    lines = json.loads(out.read_text(encoding="utf-8"))["lines"]
    assert len(lines) > 20 and all(line.get("met", True) for line in lines), printed


def test_suspicion_is_counted_of_clean_and_of_poisoned_networks(tmp_path: Path) -> None:
    out = tmp_path / "suspicion.json"
    printed = script("backdoor/suspicion.py", "--smallest", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))["networks"]
    assert [each["target"] for each in found] == [None, 0]
    assert found[0]["asr"] is None and 0 <= found[1]["asr"] <= 1
    assert all(len(each["areas"]) == 10 and each["index"] >= 0 for each in found)
    assert printed.count(" of 1, ") == 3


def test_attacks_of_another_library_are_purified(tmp_path: Path) -> None:
    pytest.importorskip("art", reason="needs adversarial-robustness-toolbox")
    out = tmp_path / "art.json"
    smallest = ("--clean", 50, "--methods", "ft", "--purify", "epochs=1", "--out", out)
    printed = script("backdoor/with_art.py", "digits", *smallest)
    found = json.loads(out.read_text(encoding="utf-8"))
    attacks = {network["attack"]: network for network in found["networks"]}
    assert [*attacks] == ["clean", "pattern", "single", "clean-label"]
    assert [each["poisoned"] for each in attacks.values()][:2] == [0, 40]
    assert attacks["clean"]["given"]["asr"] is None
    for name in ("pattern", "single", "clean-label"):
        for of in (attacks[name]["given"], attacks[name]["purified"]["ft"]):
            assert 0 <= of["asr"] + of["ra"] <= 1
    assert printed.count("| `ft` |") == 4


def test_classes_are_counted_in_a_finished_comparison(tmp_path: Path) -> None:
    tiny = {key: value for key, value in TINY_DISCOVERY.items() if key != "transfer.memory"}
    discovery = peerlearn.recipe("discovery", tiny)  # whose arm `kmeans` has no edges
    discovery.compare(tmp_path / "compared", arms=["kmeans"], seeds=[0])
    out = tmp_path / "counts.json"
    script("discovery/class_count.py", tmp_path / "compared", "--out", out)
    (counted,) = json.loads(out.read_text(encoding="utf-8"))
    assert counted["truth"] == counted["known"] == 5
    assert counted["seeds"]["0"]["count"] >= 2


def test_start_up_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "startup.json"
    said = script("speed/startup.py", "--smallest", "--out", out)
    assert "| ls |" in said
    found = json.loads(out.read_text(encoding="utf-8"))["cpu_seconds"]
    assert 0 < found["ls"]["median"] < found["import torch"]["median"]


def test_peaks_of_large_files_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "large.json"
    script("speed/large.py", "--gb", 0.002, "--folder", tmp_path, "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))["files"]
    assert len(found) == 4
    assert all(
        one["bytes"] >= 0.9 * 0.002e9 and one["peak_over_size"] >= 0 for one in found.values()
    )


@pytest.mark.usefixtures("shared_data")
def test_settings_are_tried_on_validation(tmp_path: Path) -> None:
    out = tmp_path / "chosen.json"
    script("music/choose.py", "--smallest", "--arms", "ease", "lightgcn", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert [len(lines) for lines in found["tried"].values()] == [2, 2]
    values = {line["val"]["ensemble"]["ndcg@50"] for line in found["tried"]["lightgcn"]}
    assert len(values) == 2, "a setting on top of an arm with peers of its own acts"
    assert chosen_markdown(found).count("**") == 8


@pytest.mark.usefixtures("shared_data")
def test_newcomers_are_suggested_something(tmp_path: Path) -> None:
    out = tmp_path / "newcomers.json"
    script("music/newcomers.py", "--smallest", "--seeds", "0", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert {*found["arms"]} == {"popularity", "lightgcn"}
    assert all(0 < by_way["newcomers"][0] < 1 for by_way in found["arms"].values())
    assert "| `lightgcn` |" in newcomers_markdown(found)


@pytest.mark.usefixtures("shared_data")
def test_missing_modalities_and_cold_users_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "missing.json"
    script("music/missing.py", "--smallest", "--seeds", "0", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))
    assert {*found} == {"environment", "rates", "removed", "cold"}
    (cut,) = found["cold"]["cut to 5"].values()
    assert 0 < cut["0"]["recall@50:cold5"] < 1
    values = {"0": {"recall@50": 0.4}, "1": {"recall@50": 0.42}, "2": {"recall@50": 0.41}}
    less = {seed: {"recall@50": each["recall@50"] - 0.01} for seed, each in values.items()}
    rates = {"0": {"full": values, "concatenation": values}}
    rates["0.6"] = {"full": values, "concatenation": less}
    text = missing_markdown({"rates": rates})
    assert "| 60 % | +0.00 | +1.00" in text and "| +0.50" in text


def test_pairs_of_arms_are_read_from_a_finished_comparison(tmp_path: Path) -> None:
    tiny = {"data.world": {"users": 40, "items": 30, "listens": 8}, "negatives": 16}
    music = peerlearn.recipe("music", tiny | {"epochs": 1, "batch_size": 16, "threads": 1})
    arms = ["independent", "full", "ease"]
    music.compare(tmp_path / "compared", arms=arms, seeds=[0, 1, 2])
    out = tmp_path / "bars.json"
    script("music/bars.py", tmp_path / "compared", "--out", out)
    pairs = json.loads(out.read_text(encoding="utf-8"))["pairs"]
    assert {(pair["arm"], pair["against"]) for pair in pairs} == {
        ("full", "independent"),
        ("full", "ease"),
    }
    assert all(pair["covers"] == "seeds and test rows" for pair in pairs if pair["ci95"])


def test_baselines_stand_beside_those_of_others(tmp_path: Path) -> None:
    out = tmp_path / "against.json"
    script("music/against.py", "--smallest", "--out", out)
    found = json.loads(out.read_text(encoding="utf-8"))["against"]
    assert {*found} == {"ease", "item-knn", "bpr-mf", "vbpr", "lightgcn"}
    assert all(0 < by["peerlearn"]["recall@50"] <= 1 for by in found.values())
    assert 0 < found["lightgcn"]["torch-geometric"]["recall@50"] <= 1
