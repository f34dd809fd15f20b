"""What dividing logits by a temperature has done, in words."""

from collections.abc import Mapping

from peerlearn.metrics.catalogue import Catalogue
from peerlearn.report.words import amount, joined
from peerlearn.results import Arm


def told_calibration(arms: Mapping[str, Arm], metrics: Catalogue, rows: str) -> list[str]:
    """Sentences about every arm whose peers were calibrated; means over its seeds.

    ```
    Calibrated on validation: temperature 1.83 of a, 0.97 of b. ECE on test rows: a 5.2 % → 1.1 %.
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
        changed = [
            f"{who} {amount(known[who]['ece_before']['mean'], metrics['ece'])} → "
            f"{amount(after[who]['ece']['mean'], metrics['ece'])}"
            for who in known
            if "ece_before" in known[who] and "ece" in after.get(who, {})
        ]
        sentences += [f"ECE on {rows}: {', '.join(changed)}."] if changed else []
        as_it_was = [who for who, found in temperatures.items() if set(found["values"]) == {1.0}]
        if as_it_was:
            sentences.append(
                f"No temperature is best for {joined(as_it_was)}: every validation row is right, "
                "or chance is as good. It stays 1."
            )
    return sentences
