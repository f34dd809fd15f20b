"""How much each class counts in what peers tell each other, where they learned that."""

from typing import Any

from peerlearn.compare.report_folders import Study, is_value
from peerlearn.compare.report_tables import Block, Cell, Row, Table

Json = dict[str, Any]


def weight_table(study: Study) -> Table | None:
    """A row for every arm and peer with its weights, a column for every class.

    None where no weights of classes were learned.
    """
    learned = {
        (arm, peer): weights
        for arm, block in study.arms.items()
        for peer, weights in (block.get("class_weights") or {}).items()
    }
    classes = tuple(dict.fromkeys(name for weights in learned.values() for name in weights))
    if not classes:
        return None
    arms = list(dict.fromkeys(arm for arm, _ in learned))
    blocks = tuple(
        Block(
            arm if len(arms) > 1 else "",
            tuple(
                Row(f"peer {peer}", arm, tuple(_cell(weights.get(name)) for name in classes))
                for (of, peer), weights in learned.items()
                if of == arm
            ),
        )
        for arm in arms
    )
    return Table(classes, blocks, ())


def _cell(weight: Json | None) -> Cell:
    if not is_value(weight) or weight is None:
        return Cell()
    many = len(weight.get("values") or ()) > 1 and weight.get("std") is not None
    return Cell(f"{weight['mean']:.2f}", f"± {weight['std']:.2f}" if many else "")
