"""Auto precision (bf16 in channels_last) against fp32, over a whole training step."""

from typing import Any

from benchmarks.speed.timing import interleave, row, summary
from benchmarks.speed.work import FP32, FP32_CHANNELS_LAST, Size, auto_precision, engine_step

PLAIN, LAYOUT, AUTO = "fp32", "fp32, channels_last", "auto"


def precision_gain(rounds: int, size: Size) -> list[dict[str, Any]]:
    """For a small and a deeper network, two peers that teach each other."""
    auto = auto_precision()
    target = (">=", 2.0) if auto.bf16 else None
    lines = []
    for model in size.models:
        works = {
            name: engine_step(2, precision, size.batch, "predictions: kl", model)
            for name, precision in {
                PLAIN: FP32,
                LAYOUT: FP32_CHANNELS_LAST,
                AUTO: auto,
            }.items()
        }
        samples = interleave(works, rounds)
        lines.append(row(f"fp32 over auto, {model}", samples, PLAIN, AUTO, target))
        lines.append(row(f"of which the layout, {model}", samples, PLAIN, LAYOUT))
        lines.append(row(f"of which bf16, {model}", samples, LAYOUT, AUTO))
        lines[-3]["works"] = summary(samples)
    return lines
