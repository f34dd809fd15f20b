"""What the systems do alike with the peers of a configuration."""

from pathlib import Path

from peerlearn.cohort import Cohort
from peerlearn.engine.pretrained import load_weights
from peerlearn.errors import Faults
from peerlearn.systems.recipe import RecipeConfig


def load_initial_weights(cohort: Cohort, config: RecipeConfig) -> None:
    """Give peers the weights that their configuration names.

    Raises:
        InputError: lists every file that cannot be read or does not fit.
    """
    faults = Faults()
    for name, peer in config.peers.items():
        if peer.weights is not None:
            with faults.gathered():
                path = Path(peer.weights).expanduser()
                load_weights(cohort.peers[name], path, f"peers.{name}.weights")
    faults.check()
