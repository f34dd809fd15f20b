"""What a temperature has done, in words."""

from peerlearn.metrics.catalogue import CLASSIFICATION, Catalogue
from peerlearn.report.calibrated import told_calibration
from peerlearn.report.words import NO_BREAK
from peerlearn.results import Arm, summary

METRICS = Catalogue(CLASSIFICATION)


def arm(temperature: list[float]) -> Arm:
    """Two peers, the second of which was calibrated as it was."""
    ece = {"nll": summary([0.5]), "ece": summary([0.01])}
    return {
        "peers": {"a": ece, "b": ece},
        "ensemble": ece,
        "calibration": {
            "a": {
                "temperature": summary(temperature),
                "nll_before": summary([0.6]),
                "ece_before": summary([0.05]),
            },
            "b": {"temperature": summary([1.0]), "ece_before": summary([0.01])},
            "ensemble": {"ece_before": summary([0.04])},
        },
    }


def told(arms: dict[str, Arm]) -> list[str]:
    return [said.replace(NO_BREAK, " ") for said in told_calibration(arms, METRICS, "test rows")]


def test_a_run_tells_temperatures_and_what_they_did() -> None:
    assert told({"mutual": arm([1.834])}) == [
        "Calibrated on validation: temperature 1.83 of a, 1 of b.",
        "NLL on test rows: a 0.600 → 0.500.",
        "ECE on test rows: a 5.0 % → 1.0 %, b 1.0 % → 1.0 %, ensemble 4.0 % → 1.0 %.",
        "No temperature is best for b: every validation row is right, or chance is as good. It "
        "stays 1.",
    ]


def test_a_comparison_tells_means_of_every_arm() -> None:
    said = told({"mutual": arm([1.0, 2.0]), "independent": {"peers": {}}})
    assert said[0] == "Calibrated mutual, on validation: temperature 1.5 of a, 1 of b."
    assert told({"independent": {"peers": {}}}) == []


def test_an_evaluation_on_other_rows_tells_the_temperature_alone() -> None:
    block = arm([1.834])
    block["calibration"] = {"a": {"temperature": summary([1.834])}}
    assert told({"mutual": block}) == ["Calibrated on validation: temperature 1.83 of a."]
