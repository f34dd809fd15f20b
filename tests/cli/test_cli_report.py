"""`report`, and the page that `run` leaves in its folder."""

import pytest
from tiny_commands import TINY

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


def test_folders_become_one_page(cli, tmp_path, trained):
    said = cli("report", trained, trained, "--out", "pages/report.html")
    assert said == (0, "pages/report.html\n", "")
    assert (tmp_path / "pages" / "report.html").read_text().startswith("<!")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["gone"], "gone"),
        (["."], "results.json: not found"),
        ([".", "--out", "page.pdf"], "--out page.pdf: a report ends in .html"),
    ],
)
def test_what_cannot_be_reported(cli, tmp_path, words, expected):
    said = cli("report", *words)
    assert said.status == 2
    assert expected in said.err
    assert not list(tmp_path.iterdir())


def test_without_room_for_the_report_the_results_stay(cli, tmp_path, trained, monkeypatch, capsys):
    from peerlearn.compare import report

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "write_report", full)
    said = cli("run", "dml", *TINY, "--out", "run")
    assert said.status == 0
    assert "no report: " in said.err
    assert (tmp_path / "run" / "results.json").exists()
