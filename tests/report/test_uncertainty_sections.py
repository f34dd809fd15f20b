"""Sections on withheld answers, rows out of distribution and images made worse."""

import re
from pathlib import Path

import pytest
import report_samples as samples

from peerlearn.compare.report import write_report

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

PARTS = ("selective", "ood", "corruption")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("unsure")
    made = samples.leave(samples.compare_folder(folder / "study", seeds=(0, 1)))
    samples.measure_uncertainty(made)
    return write_report([made], folder / "page.html").read_text(encoding="utf-8")


def section(html: str, name: str) -> str:
    found = re.search(rf'id="s1-{name}".*?</section>', html, re.DOTALL)
    assert found is not None, f"no section {name}"
    return found[0]


def titles(text: str) -> list[str]:
    return re.findall(r"<h4>(.*?)</h4>", text)


def captions(text: str) -> list[str]:
    return [" ".join(each.split()) for each in re.findall(r"<figcaption>(.*?)</figcaption>", text)]


def labels(text: str) -> list[str]:
    return re.findall(
        r'aria-label="([^"]*)"[^>]*class="chart"|class="chart"[^>]*aria-label="', text
    )


def test_risk_by_coverage_of_every_peer_with_a_line_for_every_arm(html: str) -> None:
    text = section(html, "selective")
    assert titles(text) == ["Peer a", "Peer b", "Ensemble"]
    assert captions(text)[0] == (
        "Mistakes where the surest 80 % are answered: mutual 3.2 %, independent 4.5 %."
    )
    assert "answered rows, %" in text
    assert "Risk–coverage curve of peer a." in text


def test_histograms_of_every_arm_and_what_they_amount_to(html: str) -> None:
    text = section(html, "ood")
    assert titles(text)[:2] == ["Mutual", "Independent"]
    assert set(titles(text)[2:]) == {
        f"{arm}, peer {peer}" for arm in ("Mutual", "Independent") for peer in "ab"
    }
    first, *_, last = captions(text)
    share = "87.5 %"
    assert first == (
        f"AUROC by entropy: mnist {share}, gtsrb {share}. AUROC by mutual information: mnist "
        "75.0 %, gtsrb 75.0 %."
    )
    assert "mutual information" not in last, "of a peer that is not stochastic"
    ensemble = text.partition("Mutual, peer a")[0]
    for words in ("test rows", "mnist", "gtsrb", "entropy, nats", "mutual information, nats"):
        assert words in ensemble
    assert "Histograms of uncertainty in and out of distribution, of mutual." in text


def test_accuracy_nll_and_ece_by_severity_and_kind(html: str) -> None:
    text = section(html, "corruption")
    shown, folded = titles(text)[:2], titles(text)[2:]
    assert shown == ["Mean peer", "Ensemble"]
    assert folded == ["Peer a", "Peer b", "Noise, ensemble", "Blur, ensemble"]
    assert captions(text)[0] == ("At level 5 the accuracy is mutual 45.0 %, independent 43.0 %.")
    assert "Means over noise and blur" in text
    for words in ("accuracy, %", "NLL", "ECE, %", "severity"):
        assert words in text


def test_what_was_not_measured_has_no_section(tmp_path: Path) -> None:
    made = samples.measure_uncertainty(samples.run_folder(tmp_path / "run"))
    samples.leave(made, "selective")
    text = write_report([made], tmp_path / "page.html").read_text(encoding="utf-8")
    section(text, "selective")
    assert not {"ood", "corruption"} & set(re.findall(r'id="s1-(\w+)"', text))


def test_curves_that_do_not_fit_are_left_out(tmp_path: Path) -> None:
    made = samples.leave(samples.measure_uncertainty(samples.run_folder(tmp_path / "run")), *PARTS)

    def break_them(results: samples.Json) -> None:
        (block,) = results["arms"].values()
        block["selective"]["risk"]["a"] = [0.1]
        block["selective"]["risk"]["b"][3] = None
        block["corruption"]["kinds"]["noise"]["ensemble"]["accuracy"][0] = None

    samples.edit_results(made, break_them)
    text = write_report([made], tmp_path / "page.html").read_text(encoding="utf-8")
    assert titles(section(text, "selective")) == ["Ensemble"]
    assert "Ensemble" not in titles(section(text, "corruption"))


def test_metrics_of_sets_stand_in_the_tables_and_not_among_classes(html: str) -> None:
    assert "AUROC of mnist by entropy, %" in html
    assert 'id="s1-classes"' not in html
