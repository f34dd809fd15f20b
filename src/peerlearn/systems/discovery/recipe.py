"""Category discovery (Zhao & Han 2021; Han et al. 2020): a global and a local branch."""

from functools import partial

from peerlearn.cohort import Cohort
from peerlearn.data.discovery import (
    DiscoveryDataset,
    DiscoveryInfo,
    evaluation_rows,
    load_discovery,
    marked_rows,
)
from peerlearn.data.loaders import evaluation_batches
from peerlearn.engine.modes import evaluating
from peerlearn.engine.trainer import Trainer
from peerlearn.errors import InputError
from peerlearn.metrics.discovery import DiscoveryAssessment
from peerlearn.models import MODELS
from peerlearn.objectives.discovery import DiscoveryObjective
from peerlearn.randomness import seeded_rng
from peerlearn.systems.assembly import first_outputs, load_data, load_initial_weights
from peerlearn.systems.discovery.clusters import classes_compete, trained_info
from peerlearn.systems.discovery.config import DiscoveryConfig
from peerlearn.systems.discovery.contact_sheets import contact_sheets
from peerlearn.systems.discovery.examination import examine
from peerlearn.systems.discovery.networks import build_discovery_cohort
from peerlearn.systems.discovery.stages import discovery_stages
from peerlearn.systems.recipe import Recipe


def build(config: DiscoveryConfig, data: DiscoveryDataset | None = None) -> Trainer:
    """A trainer for `config`.

    Args:
        config: of the recipe.
        data: from `load_discovery`; None to load them.

    Raises:
        InputError: data, networks or edges that cannot be used, or do not fit each other.
    """
    data = data or load_data(config, partial(load_discovery, config.data), MODELS.check)
    new = new_classes(config, data)
    cohort = build_discovery_cohort(config, data.sample_shape, data.known, new)
    load_initial_weights(cohort, config)
    _prepare(cohort, data, config.seed)
    rows = marked_rows(evaluation_rows(data, config.evaluation.batch_size))
    info = DiscoveryInfo.from_discovery(data, new, config.data.overlap)
    return Trainer(
        cohort,
        discovery_stages(config, data, config.augment.resolve(data), cohort),
        config,
        validation=rows,
        report=rows,
        assess=partial(DiscoveryAssessment, data.known, classes_compete(config, info)),
        peers=config.peers,
        seed=config.seed,
        info=info,
        conclude=partial(trained_info, info=info, data=data, config=config),
        gallery=(
            partial(contact_sheets, data=data, info=info, config=config)
            if len(data.sample_shape) == 3
            else None
        ),
        examine=partial(examine, data=data, batch_size=config.batch_size),
    )


def restore(config: DiscoveryConfig, info: DiscoveryInfo) -> Cohort:
    """The untrained cohort of a run, whatever has become of the weights that it started from."""
    new, untrained = info.classes - info.known, config.model_copy(update={"weights": None})
    return build_discovery_cohort(untrained, info.sample_shape, info.known, new)


def new_classes(config: DiscoveryConfig, data: DiscoveryDataset) -> int:
    """How many clusters to look for among the unlabelled rows.

    Raises:
        InputError: nobody knows, or there are more than unlabelled rows.
    """
    wanted = config.classes or data.novel
    if wanted is None:
        raise InputError(
            f"classes: data {data.name!r} does not say how many new classes there are; give their "
            "number, or let `peerlearn discover --classes auto` estimate it"
        )
    if wanted > len(data.unlabelled):
        raise InputError(
            f"classes: {wanted} new classes among {len(data.unlabelled)} unlabelled rows; allowed: "
            f"1 to {len(data.unlabelled)}"
        )
    return wanted


def _prepare(cohort: Cohort, data: DiscoveryDataset, seed: int) -> None:
    """See that every peer can read the data and compare rows, and make what the edges keep."""
    few = data.train.select(data.unlabelled[:1].repeat(2))
    x, _ = next(evaluation_batches(few, 2, data.mean, data.std))
    where = f"rows of shape {data.sample_shape} of data {data.name!r}"
    outputs = first_outputs(cohort, x, where)
    with evaluating(cohort):
        for name, objective in cohort.objectives.items():
            if isinstance(objective, DiscoveryObjective):
                objective.pseudo_labels(objective.compared(outputs[name]))
    with seeded_rng(seed, "transfer"):
        cohort.transfer.prepare(outputs)


DISCOVERY = Recipe(
    name="discovery",
    summary="New classes among unlabelled images, by two branches that teach each other",
    config=DiscoveryConfig,
    build=build,
    restore=restore,
    reads="clusters",
    system="discovery",
)
