"""The report says what the folders say, escapes what users typed, and is the same every time."""

import json
import random
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import report_samples as samples
import yaml

from peerlearn.compare.report import write_report
from peerlearn.errors import InputError
from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report.cost import short_count
from peerlearn.report.statistics import contrasts, differences
from peerlearn.report.words import outcomes
from peerlearn.results import summary

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


def page(folders, out: Path) -> str:
    folders = folders if isinstance(folders, list) else [folders]
    return write_report(folders, out).read_text(encoding="utf-8")


def plain(html: str) -> str:
    """The visible words of a page."""
    text = re.sub(r"<(style|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", "", text).split())


def sections(html: str) -> set[str]:
    return set(re.findall(r'<section class="part(?: folded)?" id="s1-(\w+)"', html))


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    return samples.compare_folder(tmp_path_factory.mktemp("compare") / "study", seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def compared_page(compared, tmp_path_factory) -> str:
    return page(compared, tmp_path_factory.mktemp("page") / "report.html")


# --- the page ---


def test_a_compare_folder_has_every_section(compared_page):
    assert sections(compared_page) == {
        "transfer",
        "comparison",
        "forest",
        "curves",
        "reliability",
        "agreement",
        "flatness",
        "noise",
        "cost",
        "again",
    }


def test_the_headline_is_the_outcome_of_the_study(compared, compared_page):
    results = json.loads((compared / "results.json").read_text())
    headline = re.search(r"<h1>(.*?)</h1>", compared_page, re.DOTALL)
    metrics = Catalogue(CLASSIFICATION)
    differences = contrasts(results["differences"], metrics)
    assert plain(headline[1]) == outcomes(differences, metrics)[0]


def test_the_table_holds_value_spread_difference_and_interval(compared, compared_page):
    accuracy = json.loads((compared / "results.json").read_text())["arms"]["mutual"]["mean_peer"][
        "accuracy"
    ]
    value = f"{100 * accuracy['mean']:.1f} ± {100 * accuracy['std']:.1f}"
    assert re.search(
        re.escape(value) + r"✓? ?[+−][\d.]+ \[−?[\d.]+, [\d.]+\]", plain(compared_page)
    )


def test_the_page_asks_for_nothing_from_outside(compared_page):
    assert "<script" not in compared_page
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", compared_page)
    assert not re.search(r"@import|url\((?!#)", compared_page)
    assert "http" not in compared_page.replace("http-equiv", "")


def test_ids_are_unique_and_every_reference_is_answered(tmp_path):
    first = samples.leave(samples.compare_folder(tmp_path / "first", seeds=(0, 1)), "cost", "edges")
    second = samples.leave(samples.run_folder(tmp_path / "second"), "cost", "edges", "reliability")
    samples.edit_results(second, lambda results: results.update(data="letters"))
    html = page([first, second], tmp_path / "report.html")
    ids = re.findall(r'\bid="([^"]+)"', html)
    wanted = set(re.findall(r'(?:url\(|href=")#([\w-]+)', html))
    assert len(ids) == len(set(ids))
    assert wanted
    assert wanted <= set(ids)


def test_figures_say_what_they_show_and_take_their_colours_from_the_page(compared_page):
    figures = re.findall(r'<svg [^>]*class="chart".*?</svg>', compared_page, re.DOTALL)
    assert len(figures) >= 15
    for figure in figures:
        root = ElementTree.fromstring(figure)
        assert root.get("role") == "img"
        assert len(root.get("aria-label")) > 20
        assert root.findtext("title") == root.get("aria-label")
        assert root.find(".//style") is None
    drawn = " ".join(figures)
    assert not re.search(r"#[0-9a-f]{6}\b", drawn), "a colour that dark pages cannot change"
    assert set(re.findall(r"var\((--[\w-]+)\)", drawn)) <= set(
        re.findall(r"(--[\w-]+):", compared_page)
    )


def test_an_arm_keeps_its_colour_over_all_sections(tmp_path):
    first = samples.compare_folder(
        tmp_path / "a", arms={"mutual": 1.0, "independent": 0.0}, seeds=(0, 1), epochs=2
    )
    second = samples.compare_folder(
        tmp_path / "b", arms={"renyi": 1.0, "mutual": 1.0, "independent": 0.0}, seeds=(0,), epochs=2
    )
    html = page([samples.leave(first), samples.leave(second)], tmp_path / "report.html")
    colours = re.findall(r"var\(--arm-(\d)\)[^>]*></svg>\s*(\w[\w.-]*)</li>", html)
    assert set(colours) == {("1", "mutual"), ("0", "independent"), ("2", "renyi")}


def confuse(folder, classes, seed=0):
    """Give every arm a confusion of so many classes."""

    def edit(results):
        drawn = random.Random(seed)
        for block in results["arms"].values():
            of = {}
            for who in (*block["peers"], "ensemble"):
                rows = [(t, t, 20) for t in range(classes)]
                rows += [(t, (t + 1) % classes, drawn.randint(1, 5)) for t in range(1, classes)]
                columns = zip(*sorted(rows), strict=True)
                of[who] = dict(zip(("true", "predicted", "count"), map(list, columns), strict=True))
            names = [f"class-{number}" for number in range(classes)]
            block["confusion"] = {"classes": names, "of": of}

    return samples.edit_results(folder, edit)


def test_classes_have_a_confusion_map_and_figures(compared, tmp_path):
    folder = confuse(Path(shutil.copytree(compared, tmp_path / "study")), 3)
    html = part(page(samples.leave(folder, "confusion"), tmp_path / "report.html"), "confusion")
    titles = re.findall("<h4>(.*?)</h4>", html)
    assert titles[0] == "Ensemble of mutual"
    assert re.fullmatch("Peer [ab] of mutual", titles[1])
    assert html.count('class="chart"') == 2
    assert "Taken for another most often: class-" in html
    shown = columns(html)
    assert shown[:4] == ["rows", "precision, %", "recall, %", "F1, %"]
    assert re.fullmatch("F1, %, peer [ab]", shown[4])
    assert shown[5:] == ["F1, %, independent"]
    assert re.findall(r'<th scope="row">(.*?)</th>', html) == ["class-0", "class-1", "class-2"]
    assert "100.0" in html  # recall of class-0, of which no row is taken for another


@pytest.mark.parametrize(("classes", "drawn", "rows"), [(50, 2, 50), (51, 0, 10)])
def test_of_many_classes_the_worst_are_shown(compared, tmp_path, classes, drawn, rows):
    folder = confuse(Path(shutil.copytree(compared, tmp_path / "study")), classes)
    html = part(page(samples.leave(folder, "confusion"), tmp_path / "report.html"), "confusion")
    shown, _, folded = html.partition("<details>")
    assert shown.count('class="chart"') == drawn
    assert len(re.findall('<th scope="row">', shown)) == rows
    assert len(re.findall('<th scope="row">', folded)) == (0 if drawn else classes)


def test_metrics_at_their_ceiling_and_without_direction_are_folded_away(compared, tmp_path):
    folder = samples.leave(Path(shutil.copytree(compared, tmp_path / "study")))

    def edit(results):
        for block in results["arms"].values():
            for metrics in (*block["peers"].values(), block["mean_peer"], block["ensemble"]):
                metrics["top5"] = summary([1.0, 1.0, 1.0])
                metrics["entropy"] = summary([0.5, 0.4, 0.3])
        results["differences"] = differences(results["arms"], "independent")

    html = page(samples.edit_results(folder, edit), tmp_path / "report.html")
    table = part(html, "comparison")
    shown = columns(table.partition("<details>")[0])
    assert shown == ["accuracy, %", "ECE, %", "NLL", "Brier score"]
    assert "<summary>Further metrics: top-5 accuracy, %; entropy</summary>" in table
    figures, _, folded = part(html, "forest").partition("<details>")
    assert re.findall("<h4>(.*?)</h4>", figures) == ["Accuracy"]
    assert {"ECE", "Top-5 accuracy", "Entropy"} <= set(re.findall("<h4>(.*?)</h4>", folded))


def test_the_arm_that_others_are_compared_with_is_grey_whatever_its_name(tmp_path):
    folder = samples.compare_folder(
        tmp_path / "run", arms={"alone": 0.0, "mutual": 1.0}, seeds=(0, 1), epochs=2
    )
    html = page(samples.leave(folder), tmp_path / "report.html")
    colours = set(re.findall(r"var\(--arm-(\d)\)[^>]*></svg>\s*(\w+)</li>", html))
    assert colours == {("0", "alone"), ("1", "mutual")}


def test_equal_folders_give_equal_bytes(compared, compared_page, tmp_path):
    assert page(compared, tmp_path / "again.html") == compared_page


def test_the_users_own_matplotlib_settings_do_not_reach_the_page(tmp_path):
    import matplotlib

    run = samples.leave(samples.run_folder(tmp_path / "run"), "cost", "edges")
    first = write_report([run], tmp_path / "one.html").read_bytes()
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        assert first == write_report([run], tmp_path / "two.html").read_bytes()
        assert dict(matplotlib.rcParams) == before


def test_a_single_run_has_no_comparison(tmp_path):
    html = page(samples.leave(samples.run_folder(tmp_path / "run")), tmp_path / "report.html")
    assert "one seed: no interval; nothing to compare with" in plain(html)
    assert "forest" not in sections(html)
    run = tmp_path / "run"
    assert f"peerlearn run {run}/config.yaml --seed 0" in plain(html), "to be typed as it stands"
    assert f"Read from {run}." in plain(html)


def test_what_was_left_out_of_the_data_is_told(tmp_path):
    folder = samples.run_folder(tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    said = {"account": ["read 3 files: train 3", "left out 1 (no image): <b>notes.txt"]}
    (folder / "results.json").write_text(json.dumps(results | said))
    html = page(folder, tmp_path / "report.html")
    assert "read 3 files: train 3; left out 1 (no image): &lt;b&gt;notes.txt" in html
    (folder / "results.json").write_text(json.dumps(results | {"account": {"a": 1}}))
    assert "left out" not in plain(page(folder, tmp_path / "report.html"))


def test_a_command_with_code_says_that_it_needs_trust(tmp_path):
    run = samples.run_folder(tmp_path / "run")
    (run / "config.yaml").write_text("recipe: dml\npeers: {a: {model: 'python:nets:make'}}\n")
    html = page(run, tmp_path / "report.html")
    assert f"peerlearn run {run}/config.yaml --seed 0 --trust" in plain(html)


@pytest.mark.parametrize(
    ("part", "section"),
    [
        ("flatness", "flatness"),
        ("noise", "noise"),
        ("between_peers", "agreement"),
        ("reliability", "reliability"),
        ("edges", "transfer"),
        ("cost", "cost"),
    ],
)
def test_what_was_not_measured_is_left_out(tmp_path, part, section):
    run = samples.leave(samples.run_folder(tmp_path / "run"), part)
    assert sections(page(run, tmp_path / "with.html")) == {"comparison", section, "again"}
    samples.leave(run)
    assert sections(page(run, tmp_path / "without.html")) == {"comparison", "again"}


def test_results_alone_are_enough(tmp_path):
    run = samples.run_folder(tmp_path / "run", peers=("only",), transfer=False)
    for name in ("metrics.jsonl", "config.yaml", "env.json"):
        (run / name).unlink()
    arm_of = {"peers": {"only": {"accuracy": {"mean": 0.5, "std": 0.0, "values": [0.5]}}}}
    samples.edit_results(run, lambda results: results.update(arms={"mutual": arm_of}))
    html = page(run, tmp_path / "report.html")
    assert sections(html) == {"comparison"}
    assert "50.0" in plain(html)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_graphs_of_two_to_eight_peers_show_every_edge(tmp_path, count):
    peers = tuple(f"peer-number-{index}" for index in range(count))
    run = samples.leave(samples.run_folder(tmp_path / "run", peers=peers), "edges")
    html = page(run, tmp_path / "report.html")
    graph = re.search(r'id="s1-transfer".*?(<svg [^>]*class="chart".*?</svg>)', html, re.DOTALL)[1]
    # an arrow is two paths in the arm's colour: its curve, and its head, which alone is filled
    assert len(re.findall(r"fill:var\(--arm-1\)", graph)) == count * (count - 1)


def test_peers_that_teach_themselves_have_an_arrow_each(tmp_path):
    run = samples.leave(samples.run_folder(tmp_path / "run"), "edges")

    def from_self(results):
        results["arms"]["mutual"]["edges"] = [
            edge | {"to": edge["from"]} for edge in results["arms"]["mutual"]["edges"]
        ]

    html = page(samples.edit_results(run, from_self), tmp_path / "report.html")
    graph = re.search(r'id="s1-transfer".*?(<svg [^>]*class="chart".*?</svg>)', html, re.DOTALL)[1]
    assert len(re.findall(r"fill:var\(--arm-1\)", graph)) == 2
    assert "each peer from itself" in plain(html)


def test_feature_edges_have_a_line_of_their_own(tmp_path):
    run = samples.leave(samples.run_folder(tmp_path / "run"), "edges")

    def teach_features(results):
        edges = results["arms"]["mutual"]["edges"]
        edges[0] |= {"knowledge": "features: stage2", "divergence": "mse", "gate": "correct"}

    html = page(samples.edit_results(run, teach_features), tmp_path / "report.html")
    assert (
        "stroke-dasharray" in re.search(r"<svg [^>]*class=\"chart\".*?</svg>", html, re.DOTALL)[0]
    )
    assert "features: stage2 · MSE · T = 1 · weight 1 · gate correct" in plain(html)
    assert "a → b" in plain(html)


NASTY = "<img src=x onerror=alert(1)>&\"'$x_1$]]>"


def test_names_from_files_are_escaped(tmp_path):
    run = samples.compare_folder(
        tmp_path / "run", arms={"&'$x_1$]]": 1.0}, peers=(NASTY, "b"), seeds=(0,), epochs=2
    )
    samples.edit_results(run, lambda results: results.update(recipe=NASTY, data=NASTY))
    (run / "config.yaml").write_text(f"# {NASTY}\nepochs: 1\n")
    samples._write_json(run / "env.json", {NASTY: NASTY})
    html = page(run, tmp_path / "report.html")
    assert "<img" not in html
    assert "&lt;img src=x" in html
    for figure in re.findall(r'<svg [^>]*class="chart".*?</svg>', html, re.DOTALL):
        ElementTree.fromstring(figure)


def test_characters_no_page_can_hold_are_replaced(tmp_path):
    run = samples.leave(samples.run_folder(tmp_path / "run"), "edges", "between_peers")
    for path in run.rglob("*.json*"):
        path.write_text(path.read_text().replace('"a"', r'"a\u0000\u001b\ud800"'))
    html = page(run, tmp_path / "report.html")
    assert "peer a\N{REPLACEMENT CHARACTER}" in plain(html)


def test_missing_values_are_no_numbers(tmp_path):
    run = samples.leave(samples.run_folder(tmp_path / "run"), "between_peers", "cost")

    def lose(results):
        arm = results["arms"]["mutual"]
        arm["mean_peer"]["accuracy"]["mean"] = None
        arm["ensemble"]["nll"]["mean"] = float("nan")
        arm["between_peers"]["error_correlation"]["a~b"]["mean"] = float("nan")
        arm["cost"]["peak_rss_mb"] = None

    html = page(samples.edit_results(run, lose), tmp_path / "report.html")
    assert not re.search(r"\b(nan|None|inf)\b", plain(html))


# --- sizes and class weights ---


def rows(html: str) -> dict[str, list[str]]:
    """The cells of every row of a table, by its label."""
    found = re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", html, re.DOTALL)
    return {
        plain(row.partition("</th>")[0]): [plain(c) for c in row.split("<td")[1:]] for row in found
    }


def cells(html: str) -> dict[str, list[str]]:
    return {
        name: [cell.partition(">")[2].replace("\xa0", " ") for cell in found]
        for name, found in rows(html).items()
    }


SIZES = {
    "a": {"parameters": 7850, "multiply_adds": 1_230_000, "latency_ms": 0.8125},
    "b": {"parameters": 785_000, "multiply_adds": 45_600_000_000},
}


def test_the_cost_of_using_a_peer_is_told_and_compared_with_the_largest(tmp_path):
    run = samples.leave(samples.run_folder(tmp_path / "run"))
    html = page(samples.measure_sizes(run, SIZES), tmp_path / "report.html")
    assert cells(part(html, "cost")) == {
        "a": ["7.85 k 1 %", "1.23 M 0.0027 %", "0.81 ms"],
        "b": ["785 k", "45.6 G", "–"],
    }


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (9546, "9.55 k"),
        (9996, "10.0 k"),
        (999_600, "1.00 M"),
        (45_600_000_000, "45.6 G"),
    ],
)
def test_counts_have_three_digits(count, text):
    assert short_count(count).replace("\xa0", " ") == text


def test_a_peer_that_arms_make_differently_large_has_a_row_for_each(tmp_path):
    arms = {"mutual": 1.0, "slim": 1.0, "independent": 0.0}
    folder = samples.compare_folder(tmp_path / "run", arms=arms, seeds=(0,), epochs=2)
    samples.measure_sizes(samples.leave(folder), SIZES)

    def slim(results):
        results["arms"]["slim"]["sizes"]["a"]["parameters"]["mean"] = 3000

    html = page(samples.edit_results(folder, slim), tmp_path / "report.html")
    assert list(cells(part(html, "cost"))) == ["a (mutual and independent)", "b", "a (slim)"]


def test_learned_class_weights_are_shown(tmp_path):
    run = samples.leave(samples.run_folder(tmp_path / "run"))

    def learn(results):
        weights = {"<b>": {"mean": 1.25, "std": 0.0, "values": [1.25]}}
        results["arms"]["mutual"]["class_weights"] = {"a": weights}

    html = page(samples.edit_results(run, learn), tmp_path / "report.html")
    assert columns(part(html, "weights")) == ["&lt;b&gt;"]
    assert cells(part(html, "weights")) == {"peer a": ["1.25"]}


# --- segmentation ---

CLASSES = tuple(f"class-{number}" for number in range(11))


@pytest.fixture(scope="module")
def segmented_page(tmp_path_factory) -> str:
    folder = samples.compare_folder(
        tmp_path_factory.mktemp("masks") / "run", seeds=(0, 1), epochs=2
    )
    samples.leave(samples.measure_classes(folder, CLASSES))
    return page(folder, folder / "report.html")


def part(html: str, name: str) -> str:
    return re.search(
        rf'<section class="part(?: folded)?" id="s1-{name}">.*?</section>', html, re.DOTALL
    )[0]


def columns(html: str) -> list[str]:
    return re.findall(r'<th scope="col">(.*?)</th>', html)


def test_the_main_table_has_no_columns_of_classes(segmented_page):
    table, _, folded = part(segmented_page, "comparison").partition("<details>")
    shown = columns(table)
    assert set(columns(folded)) == set(shown)  # of single peers
    assert shown == ["IoU, %", "accuracy, %", "HD95, px", "ECE, %", "NLL", "Brier score"]


def test_classes_have_a_table_of_their_own_with_peers_folded(segmented_page):
    table, _, folded = part(segmented_page, "classes").partition("<details>")
    assert columns(table) == list(CLASSES)
    titles = (
        re.findall(r'scope="rowgroup">(.*?)</th>', table),
        re.findall(r'scope="rowgroup">(.*?)</th>', folded),
    )
    assert titles == (["mean peer", "ensemble"], ["peer a", "peer b"])


def test_a_class_is_shown_with_its_mean_spread_and_difference(tmp_path):
    folder = samples.compare_folder(tmp_path / "run", seeds=(0, 1), epochs=2)
    samples.leave(samples.measure_classes(folder, ["road"]))
    results = json.loads((folder / "results.json").read_text())
    measured = results["arms"]["mutual"]["mean_peer"]["iou:road"]
    (entry,) = [
        e for e in results["differences"] if (e["who"], e["metric"]) == ("mean_peer", "iou:road")
    ]
    shown = plain(part(page(folder, tmp_path / "report.html"), "classes"))
    mean, std, gap = (100 * value for value in (measured["mean"], measured["std"], entry["mean"]))
    wanted = f"{mean:.1f}± {std:.1f}{gap:+.1f}".replace("-", "−")
    assert wanted in shown.replace("✓ ", "").replace("✗ ", "")


def test_classes_crowd_neither_the_forest_nor_the_headline(segmented_page):
    titles = re.findall(r"<h4>(.*?)</h4>", part(segmented_page, "forest"))
    assert titles == ["IoU", "Accuracy", "HD95", "ECE", "NLL", "Brier score"]
    assert "mean-peer IoU" in re.search(r"<h1>.*?</h1>", segmented_page, re.DOTALL)[0]


def test_a_single_run_has_its_members_as_rows(tmp_path):
    run = samples.leave(samples.measure_classes(samples.run_folder(tmp_path / "run"), CLASSES))
    table = part(page(run, tmp_path / "report.html"), "classes")
    assert re.findall(r'scope="row">(.*?)</th>', table) == [
        "mean peer",
        "ensemble",
        "peer a",
        "peer b",
    ]


# --- several folders ---


def test_runs_that_differ_by_arm_and_seed_are_compared(tmp_path):
    folders = [
        samples.run_folder(tmp_path / f"{arm}-{seed}", arm=arm, seed=seed, lift=lift, epochs=2)
        for arm, lift in (("mutual", 1.0), ("independent", 0.0))
        for seed in (1, 0, 2)
    ]
    for folder in folders:
        arm, _, seed = folder.name.partition("-")
        (folder / "config.yaml").write_text(f"arm: {arm}\nseed: {seed}\n")
        samples.leave(folder)
    html = page(folders, tmp_path / "report.html")
    assert html.count("<article") == 1
    assert "mutual beats independent" in plain(html)
    assert "3 seeds" in plain(html)


def test_runs_with_other_settings_are_not_pooled(tmp_path):
    folders = [
        samples.leave(samples.run_folder(tmp_path / f"{seed}", seed=seed, epochs=2 + seed))
        for seed in (0, 1)
    ]
    assert page(folders, tmp_path / "report.html").count("<article") == 2


def test_runs_on_other_data_get_their_own_sections(tmp_path):
    folders = [samples.leave(samples.run_folder(tmp_path / name, arm=name)) for name in ("x", "y")]
    samples.edit_results(folders[0], lambda results: results.update(data="letters"))
    assert page(folders, tmp_path / "report.html").count("<article") == 2


def test_runs_on_files_of_one_name_in_different_folders_are_not_pooled(tmp_path):
    folders = [samples.leave(samples.run_folder(tmp_path / name, arm=name)) for name in ("x", "y")]
    for folder, data in zip(folders, ("here/digits.npz", "there/digits.npz"), strict=True):
        config = yaml.safe_load((folder / "config.yaml").read_text()) | {"data": {"name": data}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert page(folders, tmp_path / "report.html").count("<article") == 2
    (folders[1] / "config.yaml").write_text((folders[0] / "config.yaml").read_text())
    assert page(folders, tmp_path / "report.html").count("<article") == 1


# --- errors ---


def test_no_folder_at_all_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no folder given"):
        write_report([], tmp_path / "report.html")


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing/results\.json: not found"):
        write_report([tmp_path / "nothing"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("results.json", "{", r"results\.json: not readable as JSON"),
        ("results.json", "[]", r"results\.json: the file must be a JSON object, found list"),
        ("results.json", "{}", r"results\.json: arms must be a JSON object, found nothing"),
        ("results.json", '{"arms": {"m": 3}}', r"results\.json: arms\.m must be a JSON object"),
        ("env.json", "nonsense", r"env\.json: not readable as JSON"),
        ("metrics.jsonl", "{}\nnonsense\n{}\n", r"metrics\.jsonl, line 2: not readable as JSON"),
        ("config.yaml", "a: [", r"config\.yaml: not YAML"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, text, said):
    run = samples.run_folder(tmp_path / "run", epochs=2)
    (run / name).write_text(text)
    with pytest.raises(InputError, match=said):
        write_report([run], tmp_path / "report.html")


def test_the_unfinished_last_line_of_a_killed_run_is_no_error(tmp_path):
    run = samples.run_folder(tmp_path / "run", peers=("a",), epochs=3, flatness=False)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "epo')
    assert "curves" in sections(page(run, tmp_path / "report.html"))


def test_one_epoch_is_told_and_not_drawn(tmp_path):
    for epochs, drawn in ((1, 0), (2, 3)):
        run = samples.run_folder(tmp_path / f"of_{epochs}", peers=("a", "b"), epochs=epochs)
        html = page(run, tmp_path / "report.html")
        curves = re.search(r'id="s1-curves".*?</section>', html, re.DOTALL)[0]
        assert curves.count('class="chart"') == drawn
        assert curves.count("<figcaption>Last epoch: ") == 3
        assert ("One epoch is no curve yet." in curves) == (epochs == 1)


def test_a_failed_report_leaves_the_old_one(tmp_path):
    run = samples.run_folder(tmp_path / "run", epochs=2)
    out = tmp_path / "report.html"
    out.write_text("old")
    (run / "results.json").write_text("{")
    with pytest.raises(InputError):
        write_report([run], out)
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "run"]


@pytest.mark.parametrize("library", ["matplotlib", "jinja2"])
def test_a_missing_library_names_the_pip_command(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=re.escape('pip install "peerlearn[report]"')):
        write_report([tmp_path], tmp_path / "report.html")


def test_a_brief_page_says_what_its_figures_would_show(compared, compared_page, tmp_path):
    brief = write_report([compared], tmp_path / "brief.html", brief=True).read_text("utf-8")
    assert sections(brief) == {*sections(compared_page), "whole"}
    assert f"peerlearn report {compared}" in brief

    def drawn(html: str, section: str) -> int:
        found = re.search(rf'id="s1-{section}".*?</section>', html, re.DOTALL)
        return found[0].count('class="chart"')

    for section in ("forest", "curves"):
        assert drawn(brief, section) == drawn(compared_page, section) > 0
    for section in ("transfer", "reliability", "agreement", "cost"):
        assert drawn(brief, section) == 0 < drawn(compared_page, section)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", compared_page, re.DOTALL)
    assert captions == re.findall(r"<figcaption>(.*?)</figcaption>", brief, re.DOTALL)


@pytest.mark.parametrize(("peers", "drawn"), [("ab", 0), ("abc", 1)])
def test_a_brief_page_draws_who_teaches_whom_where_words_are_not_enough(tmp_path, peers, drawn):
    run = samples.run_folder(tmp_path / "run", peers=tuple(peers))
    brief = write_report([run], tmp_path / "brief.html", brief=True).read_text("utf-8")
    graph = re.search(r'id="s1-transfer".*?</section>', brief, re.DOTALL)[0]
    assert graph.count('class="chart"') == drawn
    assert 'class="edges"' in graph


def test_a_brief_page_of_one_epoch_asks_for_no_drawing_library(tmp_path):
    run = samples.run_folder(tmp_path / "run", epochs=1, flatness=False)
    asked = f"""
import sys
from pathlib import Path
from peerlearn.compare.report import write_report
write_report([Path({str(run)!r})], Path({str(tmp_path / "page.html")!r}), brief=True)
print("matplotlib" in sys.modules)
"""
    said = subprocess.run(
        [sys.executable, "-c", asked],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["False"]
