import io

import pytest
from rich.console import Console

from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report import terminal
from peerlearn.report.statistics import differences
from peerlearn.results import summary
from peerlearn.tasks.segmentation.metrics import METRICS as SEGMENTATION

METRICS = Catalogue([*SEGMENTATION, *CLASSIFICATION])


def results(mutual, independent, seeds, metric="accuracy"):
    def block(values):
        metrics = {metric: summary(values), "nll": summary([1 - v for v in values])}
        return {
            "peers": {"a": metrics},
            "mean_peer": metrics,
            "ensemble": {metric: metrics[metric]},
        }

    arms = {"mutual": block(mutual), "independent": block(independent)}
    return {
        "schema": 1,
        "recipe": "dml",
        "data": "digits",
        "seeds": seeds,
        "arms": arms,
        "differences": differences(arms, "independent"),
    }


def printed(found, width=200):
    stream = io.StringIO()
    Console(file=stream, width=width).print(terminal.comparison_table(found, METRICS))
    return stream.getvalue()


def markdown_table(found):
    return terminal.markdown_table(found, METRICS)


CLEAR = results([0.970, 0.981, 0.975], [0.950, 0.960, 0.956], [0, 1, 2])
NOISY = results([0.970, 0.940, 0.975], [0.950, 0.960, 0.956], [0, 1, 2])


@pytest.mark.parametrize("render", [printed, markdown_table])
def test_values_spread_and_interval_are_shown(render):
    shown = " ".join(render(CLEAR).split())
    assert "97.53 ± 0.55" in shown  # mean-peer accuracy in percent
    assert "0.025 ± 0.006" in shown  # nll is not a percentage
    assert "+2.00" in shown
    assert "[+1.75, +2.25]" in shown
    assert "n = 3 seeds (0, 1, 2)" in shown
    assert "paired by seed" in shown
    assert "independent" in shown


def test_a_sure_gain_is_set_in_bold_in_markdown():
    assert "97.53 ± 0.55<br>**+2.00 [+1.75, +2.25] better** |" in markdown_table(CLEAR)


def test_four_metrics_with_intervals_fit_into_80_columns():
    found = results([0.970, 0.981, 0.975], [0.950, 0.960, 0.956], [0, 1, 2])
    for block in found["arms"].values():
        block["mean_peer"]["ece"] = summary([0.051, 0.052, 0.059])
    found["arms"]["independent"]["mean_peer"]["ece"] = summary([0.02, 0.02, 0.03])
    found["differences"] = differences(found["arms"], "independent")
    shown = printed(found, width=80)
    assert shown.count("[+1.75, +2.25]") == 2
    assert "[-0.022, -0.018]" in shown
    assert shown.count(" better") >= 2
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("render", [printed, markdown_table])
def test_only_the_headline_is_marked_and_only_where_it_is_shown(render):
    marked = render(CLEAR).split("n = 3")[0]
    assert marked.count("better") == 2  # both accuracies, not nll
    assert "worse" not in marked
    unmarked = render(NOISY).split("n = 3")[0]
    assert "better" not in unmarked
    assert "worse" not in unmarked
    assert "[" in unmarked  # the interval is there all the same


def test_a_significantly_worse_arm_is_called_worse():
    worse = results([0.950, 0.960, 0.956], [0.970, 0.981, 0.975], [0, 1, 2])
    shown = markdown_table(worse).split("n = 3")[0]
    assert shown.count("worse") == 2
    assert "better" not in shown


@pytest.mark.parametrize("render", [printed, markdown_table])
def test_one_seed_has_no_interval_and_says_so(render):
    shown = " ".join(render(results([0.97], [0.95], [7])).split())
    assert "+2.00" in shown
    assert "[" not in shown
    assert "±" not in shown
    assert "One seed (7)" in shown
    assert "no interval" in shown


def test_a_single_arm_needs_no_reference():
    run = results([0.97, 0.98], [0.95, 0.96], [0, 1])
    del run["arms"]["independent"]
    run["differences"] = []
    shown = markdown_table(run)
    assert "97.50 ± 0.71 |" in shown
    assert "difference" not in shown


def test_columns_follow_what_was_measured():
    header = markdown_table(results([0.9, 0.8], [0.7, 0.9], [0, 1], metric="dice")).splitlines()[0]
    assert header == "| arm | mean peer Dice % | ensemble Dice % | mean peer NLL |"


def test_segmentations_are_headed_by_iou_and_their_distances_are_in_pixels():
    found = results([0.9, 0.8], [0.7, 0.9], [0, 1], metric="iou")
    for block in found["arms"].values():
        for name, value in (("accuracy", 0.99), ("hd95", 3.125), ("iou:road", 0.5)):
            block["mean_peer"][name] = summary([value, value])
    table = markdown_table(found)
    assert table.splitlines()[0] == (
        "| arm | mean peer IoU % | ensemble IoU % | mean peer accuracy % | mean peer NLL "
        "| mean peer HD95 px |"
    )
    assert "| 3.12 ± 0.00 |" in table


def test_markdown_rows_have_one_cell_a_column():
    found = results([0.97, 0.98], [0.95, 0.96], [0, 1])
    found["arms"] = {"mut|ual": found["arms"]["mutual"], **found["arms"]}
    lines = [line for line in markdown_table(found).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_names_are_not_read_as_markup():
    found = results([0.97, 0.98], [0.95, 0.96], [0, 1])
    found["arms"]["[bold]"] = found["arms"].pop("mutual")
    found["data"] = "[red]"
    assert "[bold]" in printed(found)
    assert "dml on [red]" in printed(found)


def test_an_interval_that_excludes_zero_never_begins_with_it():
    found = results([0.97, 0.97, 0.97], [0.95, 0.95, 0.95], [0, 1, 2])
    entry = next(e for e in found["differences"] if e["who"] == "mean_peer")
    entry |= {"mean": 0.01, "ci95": [0.00003, 0.02]}
    assert "[+0.003, +2.000]" in " ".join(printed(found).split())
