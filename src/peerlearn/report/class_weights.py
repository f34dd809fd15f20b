"""How much each class counts in what peers tell each other, where they learned that."""

from peerlearn.report.experiment import is_value, spread
from peerlearn.report.section import Drawer, Section
from peerlearn.report.tables import Block, Cell, Row, Table
from peerlearn.results import Summary


def class_weights(draw: Drawer) -> Section:
    """A table of learned weights: a row for every arm and peer, a column for every class."""
    learned = {
        arm: block["class_weights"]
        for arm, block in draw.experiment.arms.items()
        if block.get("class_weights")
    }
    peers = [weights for arm in learned.values() for weights in arm.values()]
    classes = tuple(dict.fromkeys(name for weights in peers for name in weights))
    lead = (
        "How much each peer's logit of a class counts in what it tells the others and is told, "
        "at the end of training. With weights that start at 1, classes above 1 count for more."
    )
    blocks = tuple(
        Block(
            arm if len(learned) > 1 else "",
            tuple(
                Row(f"peer {peer}", arm, tuple(_cell(weights.get(name)) for name in classes))
                for peer, weights in of.items()
            ),
        )
        for arm, of in learned.items()
    )
    table = Table(classes, blocks, ()) if classes else None
    title = "Learned class weights"
    return Section("weights", title, lead, legend=False, table=table, dense=True)


def _cell(weight: Summary | None) -> Cell:
    if weight is None or not is_value(weight):
        return Cell()
    std = spread(weight)
    return Cell(f"{weight['mean']:.2f}", "" if std is None else f"± {std:.2f}")
