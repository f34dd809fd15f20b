"""What dividing logits by a temperature has done, in words."""

from collections.abc import Mapping

from peerlearn.metrics.catalogue import Catalogue
from peerlearn.report.words import amount, joined
from peerlearn.results import Arm


def told_calibration(arms: Mapping[str, Arm], metrics: Catalogue, rows: str) -> list[str]:
    """Sentences about every arm whose peers were calibrated; means over its seeds.

    ```
    Calibrated on validation: temperature 1.83 of a, 0.97 of b. NLL on test rows: a 0.62 → 0.48, b
    0.51 → 0.50. ECE on test rows: a 5.2 % → 1.1 %, b 2.0 % → 1.9 %.
    ```
    """
    sentences = []
    for arm, block in arms.items():
        known = block.get("calibration", {})
        temperatures = {who: it["temperature"] for who, it in known.items() if "temperature" in it}
        if not temperatures:
            continue
        whose = "" if len(arms) == 1 else f" {arm},"
        each = ", ".join(f"{found['mean']:.3g} of {who}" for who, found in temperatures.items())
        sentences.append(f"Calibrated{whose} on validation: temperature {each}.")
        after = block["peers"] | {"ensemble": block.get("ensemble", {})}
        for name in ("nll", "ece"):  # what is minimised, on other rows, and what is hoped for
            metric = metrics[name]
            changed = [
                f"{who} {amount(before['mean'], metric)} → {amount(now['mean'], metric)}"
                for who, found in known.items()
                if (before := found.get(f"{name}_before")) and (now := after.get(who, {}).get(name))
            ]
            sentences += [f"{metric.label} on {rows}: {', '.join(changed)}."] if changed else []
        as_it_was = [who for who, found in temperatures.items() if set(found["values"]) == {1.0}]
        if as_it_was:
            sentences.append(
                f"No temperature is best for {joined(as_it_was)}: every validation row is right, "
                "or chance is as good. It stays 1."
            )
    return sentences
