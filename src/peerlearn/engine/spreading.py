"""Which way between peers a training takes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from peerlearn.engine.mesh import launched_transport
from peerlearn.engine.precision import Precision
from peerlearn.engine.public_rows import PublicRows
from peerlearn.engine.settings import TrainingSpec
from peerlearn.engine.snapshots import PredictionSnapshots, WeightSnapshots, held_alone
from peerlearn.engine.transports import Transport
from peerlearn.errors import InputError
from peerlearn.launched import launched_together


@contextmanager
def transport_of(
    training: TrainingSpec,
    peers: Sequence[str],
    precision: Precision,
    public: PublicRows | None,
    seed: int,
    tell: Callable[[str], object],
) -> Iterator[Transport]:
    """The transport that was asked for, while a training uses it.

    Args:
        peers: names of all peers of the cohort.
        precision: of those that live here.
        public: rows on which peers meet that publish predictions; None of others.
        seed: keys the order of public rows.
        tell: is told in words what was left aside.

    Raises InputError: peers cannot be spread over the processes that there are.
    """
    spec = training.transport
    if spec.kind == "mesh":
        yield launched_transport(peers, precision.device)
        return
    if launched_together() > 1:
        raise InputError(
            f"transport: 'snapshot' in {launched_together()} processes that were started together; "
            "leave torchrun out and start each by itself, with transport.peer of its own"
        )
    transport: WeightSnapshots | PredictionSnapshots
    if public is None:
        transport = WeightSnapshots(peers, spec, tell)
    else:
        transport = PredictionSnapshots(peers, spec, tell, public, training, precision, seed)
    with held_alone(transport):
        yield transport
