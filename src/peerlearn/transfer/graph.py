"""Who teaches whom: the entries of a transfer graph between the peers of a cohort."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.transfer.averages import Averages, Followed, peer_averaged
from peerlearn.transfer.knowledge import kind_named
from peerlearn.transfer.knowledge.base import SELF, EdgeOptions, IncomingEdges, Knowledge
from peerlearn.transfer.outputs import BatchView, OutputForm, PeerOutput
from peerlearn.transfer.proven import Proof, labels_to_prove_on
from peerlearn.transfer.spec import TransferSpec
from peerlearn.validation import validated


class TransferGraph(nn.Module):
    """Directed edges between named peers.

    Args:
        transfer: a `TransferSpec`, or any of its forms: `"predictions: kl"`, `"none"`, a mapping.
        peers: names of the cohort's peers, in order.
        form: `softmax` for one class a row, `sigmoid` for multi-label outputs.

    Attributes:
        entries: one `Knowledge` for each entry of the configuration.
        proves: whether some edges are open only while validation shows them right; see `prove`.
        averages: of peers' weights, where an average teaches (`teacher_ema`).

    Raises InputError: unknown key or value, an unknown peer in `from` or `to`, or edges without two
    peers to connect.
    """

    def __init__(
        self,
        transfer: TransferSpec | str | Mapping[str, Any] | None,
        peers: Sequence[str],
        form: OutputForm = "softmax",
    ) -> None:
        super().__init__()
        self.spec = validated(TransferSpec, transfer, "transfer")
        self.peers = tuple(peers)
        self.form: OutputForm = form
        # A plain tuple beside the registered modules: a step must not look them up by name.
        self.entries = tuple(_made(self.spec, peers, form))
        self.modules_of_entries = nn.ModuleList(self.entries)
        self.proves = bool(self.proofs)
        self.averages = Averages(
            Followed(peer_averaged(teacher), decay, entry.options.teacher_view)
            for entry in self.entries
            if (decay := entry.options.teacher_ema) is not None
            for edges in entry.incoming
            for teacher in edges.teachers
        )

    @property
    def sequential(self) -> bool:
        """Whether each peer learns from peers that have already stepped."""
        return self.spec.update == "sequential"

    @property
    def remembers(self) -> bool:
        """Whether some entry keeps something of every batch that trains."""
        return any(entry.remembers for entry in self.entries)

    @property
    def proofs(self) -> list[Proof]:
        """Of the entries whose edges must prove themselves."""
        return [entry.proof for entry in self.entries if entry.proof is not None]

    @property
    def absent(self) -> frozenset[str]:
        """Peers that cannot teach yet."""
        return frozenset(name for entry in self.entries for name in entry.absent)

    @absent.setter
    def absent(self, names: Collection[str]) -> None:
        for entry in self.entries:
            entry.shut_out(names)

    @property
    def stays(self) -> list[str]:
        """Why peers cannot live in different processes, entry by entry; see `Knowledge.stays`."""
        return [f"{entry.field}: {entry.stays}" for entry in self.entries if entry.stays]

    def travelling(self, learners: Collection[str]) -> list[str]:
        """Peers and averages whose outputs are read where `learners` learn, in order."""
        read = set()
        for entry in self.entries:
            for learner, teachers in entry.wanted(learners):
                if entry.travels != "networks":
                    read |= {*teachers, *([learner] if entry.remembers else [])}
        return [name for name in (*self.peers, *self.averages.of) if name in read]

    def asked_of(self, peer: str, output: PeerOutput) -> set[str]:
        """Names of the features of a peer, or an average, that are read by others."""
        asked: set[str] = set()
        for entry in self.entries:
            read = {name for pair in entry.pairs for name in pair[: 1 + entry.remembers]}
            if entry.travels == "features" and peer in read:
                asked.update(entry.asked_of(peer, output))
        return asked

    def lent(
        self, learners: Collection[str], peers: Mapping[str, nn.Module] | nn.ModuleDict
    ) -> dict[str, list[Tensor]]:
        """By teacher, the parameters that learners elsewhere read themselves."""
        lent: dict[str, list[Tensor]] = {}
        for entry in self.entries:
            teachers = {t for edges in entry.wanted(learners) for t in edges.teachers}
            for name in (name for name in self.peers if name in teachers):
                own = [*peers[name].parameters()] if entry.travels == "networks" else []
                own += entry.parameters_of(name) if entry.lends else []
                if own:
                    lent.setdefault(name, []).extend(own)
        return lent

    def learned_by(self, peer: str) -> dict[str, Any]:
        """What edges have learned on behalf of a peer, and the averages that follow it."""
        followed = [name for name, it in self.averages.of.items() if it.peer == peer]
        return {
            "parameters": [each.detach().cpu() for each in self.parameters_of(peer)],
            "averages": {name: self.averages[name].state_dict() for name in followed},
        }

    def take_over(self, peer: str, learned: Mapping[str, Any]) -> None:
        """Have what `learned_by` gave in another process."""
        with torch.no_grad():
            for own, other in zip(self.parameters_of(peer), learned["parameters"], strict=True):
                own.copy_(other)
        for name, state in learned["averages"].items():
            self.averages[name].load_state_dict(state)

    def prepare(
        self,
        outputs: Mapping[str, PeerOutput],
        peers: Mapping[str, nn.Module] | nn.ModuleDict | None = None,
    ) -> None:
        """Make what the edges themselves learn and keep, for batches of the shape of `outputs`.

        Initial values come from torch's global generator. Adaptive weighting, learned temperatures,
        hints between maps of different width and relations need it; call it once, before training.

        Raises InputError: peers whose predictions or features cannot be compared.
        """
        if peers:
            self.averages.make(peers)
        alike = {name: outputs[it.peer] for name, it in self.averages.of.items()}
        view = BatchView({**outputs, **alike}, peers={} if peers is None else peers)
        for entry in self.entries:
            entry.prepare(view)

    def parameters_of(self, peer: str) -> list[nn.Parameter]:
        """What the edges learn on behalf of one peer, for its optimiser, entry by entry."""
        return [parameter for entry in self.entries for parameter in entry.parameters_of(peer)]

    def full_at(self, peer: str) -> float:
        """The fraction of a stage after which all edges that teach a peer have their full weight.

        0 where none of them opens late. It may lie beyond the end of the stage, which is 1.
        """
        entries = (entry.options for entry in self.entries if entry.wanted([peer]))
        return max((it.weight_schedule.full_at(it.weight) for it in entries), default=0.0)

    def averages_for(self, learners: Collection[str]) -> list[str]:
        """Names of the averages that teach one of `learners`."""
        if not self.averages.of:
            return []
        edges = [each for entry in self.entries for each in entry.wanted(learners)]
        teachers = {teacher for each in edges for teacher in each.teachers}
        return [name for name in self.averages.of if name in teachers]

    def edges(self) -> Iterator[dict[str, Any]]:
        """Every edge as a flat mapping, for reports."""
        for entry in self.entries:
            for learner, teachers in entry.incoming:
                for teacher in teachers:
                    source = peer_averaged(teacher)  # a peer's own name where it is none
                    yield {"from": source, "to": learner} | entry.options.described()

    def losses(
        self,
        outputs: Mapping[str, PeerOutput],
        targets: Tensor | None = None,
        *,
        labelled: Tensor | None = None,
        progress: float | None = None,
        learners: Collection[str] | None = None,
        peers: Mapping[str, nn.Module] | nn.ModuleDict | None = None,
    ) -> dict[str, Tensor]:
        """The weighted transfer loss of each learner, a scalar in fp32; 0 where nobody teaches.

        It leaves everything as it is: what a batch adds to memories, `remember` takes.

        Args:
            outputs, targets, labelled, progress, peers: see `BatchView`. Where averages teach,
                theirs are among the outputs; see `Cohort.averaged`.
            learners: peers to compute the loss of; None for all.

        Raises InputError: peers of one entry disagree in the shape of their logits or features, or
        the outputs of an average are missing.
        """
        view = BatchView(outputs, targets, labelled, progress, {} if peers is None else peers)
        own = [name for name in outputs if name not in self.averages.of]
        chosen = own if learners is None else learners
        if missing := [n for n in self.averages_for(chosen) if n not in outputs]:
            raise InputError(
                f"transfer.teacher_ema: no outputs of {', '.join(missing)}; give those of "
                "cohort.averaged(x) beside those of cohort(x)"
            )
        losses: dict[str, Tensor] = {}
        for entry in self.entries:
            if not entry.ready and entry.wanted(chosen):
                raise InputError(
                    "transfer: weighting, learned temperatures and hints have parameters of their "
                    "own; call cohort.transfer.prepare(cohort(x)) once before training"
                )
            options = entry.options
            weight = view.at(options.weight_schedule, options.weight, "weight")
            if weight != 0:
                _add(losses, _of_all_edges(entry, entry.losses(view, chosen)), weight)
        for entry in self.entries:
            if entry.supervised:
                _add(losses, entry.own_losses(view, chosen))
        for name in chosen:
            if name not in losses:
                losses[name] = outputs[name].logits.new_zeros((), dtype=torch.float32)
        return {name: losses[name] for name in chosen}

    def prove(self, outputs: Mapping[str, PeerOutput | Tensor], y: Tensor) -> None:
        """Let edges with `proven` show on validation rows whether they may teach until next time.

        Training does so after every validation. In a loop of your own, after every epoch:

        ```python
        cohort.eval()
        with torch.no_grad():
            cohort.transfer.prove(cohort(x_val), y_val)
        cohort.train()
        ```

        Args:
            outputs: of every peer, or logits (rows, classes), for the same rows every time.
            y: int64 (rows,), their classes; rows with −1 do not count.

        Raises InputError: other rows than last time, or labels that are not one class a row.
        """
        for proof in self.proofs:
            raw = {n: z if isinstance(z, Tensor) else z.logits for n, z in outputs.items()}
            proof.update(raw, labels_to_prove_on(raw.values(), y, proof.field))

    def share_taught(self, learner: str) -> float:
        """The share of a learner's edges that are open; 1 for one without edges."""
        edges = [p for entry in self.entries for p in entry.pairs if p[1] == learner]
        shut = [p for proof in self.proofs for p in proof.shut if p[1] == learner]
        return 1 - len(shut) / max(len(edges), 1)

    def warn_of_shut_edges(self) -> None:
        """Say, where a training begins without one, that edges wait for `prove`."""
        if any(not proof.seen for proof in self.proofs):
            warnings.warn(
                "transfer.proven: edges are shut until they have proven themselves; call "
                "cohort.transfer.prove(cohort(x_val), y_val) after every epoch, in eval mode and "
                "under torch.no_grad()",
                stacklevel=3,
            )

    def open_edges(self) -> dict[str, dict[str, float]]:
        """By learner and teacher, the share of their edges with `proven` that are open now."""
        found: dict[str, dict[str, list[bool]]] = {}
        for proof in self.proofs:
            for (teacher, learner), it in zip(proof.pairs, proof.found, strict=True):
                found.setdefault(learner, {}).setdefault(peer_averaged(teacher), []).append(it)
        return {
            learner: {teacher: sum(them) / len(them) for teacher, them in teachers.items()}
            for learner, teachers in found.items()
        }

    def remember(
        self,
        outputs: Mapping[str, PeerOutput],
        targets: Tensor | None = None,
        *,
        labelled: Tensor | None = None,
        learners: Collection[str] | None = None,
    ) -> None:
        """Take the rows of a training batch into the memories of edges about relations.

        Call it once for every batch that trains, after `losses` and whatever the order of updates;
        never for one that evaluates. Weights do not matter: memories fill before an edge opens.

        Args:
            outputs: of every peer, as before the step.
            targets: labels, by which batches of pairs are checked.
            learners: peers that train in this step; None for all.

        Raises InputError: a peer is missing beside which others learn from one entry, or features
        or rows that cannot be compared.
        """
        view = BatchView(outputs, targets, labelled)
        learning = self.peers if learners is None else learners
        active = [entry for entry in self.entries if entry.remembers and entry.wanted(learning)]
        for entry in active:
            entry.check_memory(view)
        with torch.no_grad():
            for entry in active:
                entry.remember(view)


def _of_all_edges(entry: Knowledge, terms: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Means over the edges that are open, as those over all edges, where the others give 0."""
    if entry.all_open or entry.options.target == "sum":
        return terms
    return {name: entry.share_open(name) * term for name, term in terms.items()}


def _add(losses: dict[str, Tensor], terms: Mapping[str, Tensor], weight: float = 1.0) -> None:
    for name, term in terms.items():
        weighted = term if weight == 1 else weight * term
        losses[name] = losses[name] + weighted if name in losses else weighted


def _made(spec: TransferSpec, peers: Sequence[str], form: OutputForm) -> Iterator[Knowledge]:
    for number, options in enumerate(spec.entries()):
        field = "transfer" if spec.edges == "all" else f"transfer.edges.{number}"
        kind = kind_named(options.knowledge, f"{field}.knowledge")
        yield kind(options, field, _incoming(options, peers, field), form)


def _incoming(options: EdgeOptions, peers: Sequence[str], field: str) -> list[IncomingEdges]:
    learners = _peer_names(options.learners, peers, f"{field}.to")
    if options.teachers == SELF:
        pairs = [IncomingEdges(learner, (learner,)) for learner in learners]
    else:
        teachers = _peer_names(options.teachers, peers, f"{field}.from")
        pairs = [IncomingEdges(to, tuple(t for t in teachers if t != to)) for to in learners]
    incoming = [edges for edges in pairs if edges.teachers]
    if (decay := options.teacher_ema) is not None:
        view = options.teacher_view
        incoming = [
            IncomingEdges(to, tuple(Followed(teacher, decay, view).name for teacher in teachers))
            for to, teachers in incoming
        ]
    if not incoming:
        raise InputError(
            f"{field}: nobody to learn from: an edge needs two different peers, found "
            f"{', '.join(map(repr, peers))}. Add a peer, train alone with transfer: none, or "
            "let a peer learn from itself with from: self."
        )
    return incoming


def _peer_names(given: str | list[str], peers: Sequence[str], field: str) -> list[str]:
    names = list(peers) if given == "all" else [given] if isinstance(given, str) else given
    for name in names:
        if name not in peers:
            raise unknown_name("peer", name, peers, field)
        if names.count(name) > 1:
            raise InputError(f"{field}: {name!r} is named twice; to count it more use weight")
    return names
