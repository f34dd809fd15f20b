"""The typed configuration of a transfer graph.

Short forms: `"predictions: kl"` (every ordered pair, Deep Mutual Learning), `"features: hint"`,
`"relations: symmetric_kl"`, `"none"`, or a mapping whose fields hold for every edge. `edges` lists
entries of their own; what an entry leaves out it takes from the block of its knowledge
(`predictions`, `posteriors`, …), and what that leaves out from the mapping around it.
Only the divergence and the temperature of predictions are never those of relations: around edges
they are meant for those of its `knowledge`.

The options of an entry are those of its kind (see `knowledge/`). The mapping around entries has the
options of all kinds side by side, and a block for each.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, create_model, field_validator, model_validator

from peerlearn.errors import Faults, InputError, unknown_name
from peerlearn.importing import PREFIX
from peerlearn.plain_yaml import parse_yaml
from peerlearn.transfer.knowledge import KINDS, kind_named
from peerlearn.transfer.knowledge.base import EdgeOptions
from peerlearn.validation import Spec, explain

OPTIONS: dict[str, type[EdgeOptions]] = {name: kind.Options for name, kind in KINDS.items()}
#: What every entry has, whatever its kind.
SHARED = tuple(EdgeOptions.model_fields)
#: The options that each kind adds.
FIELDS_OF = {
    kind: tuple(name for name in options.model_fields if name not in SHARED)
    for kind, options in OPTIONS.items()
}


def _side_by_side() -> dict[str, Any]:
    """The options of all kinds; of those that share a name, the first kind's."""
    fields: dict[str, Any] = {}
    for options in OPTIONS.values():
        for name, field in options.model_fields.items():
            fields.setdefault(name, (field.annotation, field))
    kinds: Any = Literal[tuple(KINDS)]
    fields["knowledge"] = (kinds, Field("predictions", description="what is transferred"))
    return fields


def _block(kind: str) -> tuple[Any, Any]:
    about = f"what entries about {kind} leave out, before the others"
    return dict[str, Any], Field({}, description=about)


class _Form(Spec):
    model_config = EdgeOptions.model_config


if TYPE_CHECKING:
    EdgeFields = EdgeOptions
    _Blocks = EdgeOptions
else:
    #: What can be said about edges around the entries of a graph, one flat form.
    EdgeFields = create_model("EdgeFields", __base__=_Form, **_side_by_side())
    _Blocks = create_model("_Blocks", __base__=EdgeFields, **{kind: _block(kind) for kind in KINDS})


class TransferSpec(_Blocks):
    """A transfer graph: the options of entries as defaults, the edges, the order of updates."""

    edges: Literal["all", "none"] | list[dict[str, Any]] = Field(
        "all", description="'all': every ordered pair; 'none': independent peers; or entries"
    )
    update: Literal["simultaneous", "sequential"] = Field(
        "simultaneous",
        description="simultaneous: targets are the outputs before the step; sequential: a peer "
        "learns from peers that have already stepped",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        read = given
        if isinstance(given, str):
            with suppress(InputError):
                read = parse_yaml(given, "transfer")
            # A text is a short form: whatever says more is written as a mapping.
            if isinstance(read, Mapping) and not all(isinstance(v, str) for v in read.values()):
                read = given
        if read is None or read == "none":
            return {"edges": "none"}
        if isinstance(read, str):
            raise unknown_name("transfer graph", read, ["none", "predictions: kl"], "transfer")
        if isinstance(read, dict) and len(read) == 1:
            ((knowledge, loss),) = read.items()
            if knowledge in OPTIONS and isinstance(loss, str):
                return {"knowledge": knowledge, OPTIONS[knowledge].headline: loss}
        return read

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_its_knowledge(cls, given: Any) -> Any:
        """Complete dumps mean the same: a default of the flat form is none of the kind's."""
        kind = given.get("knowledge") if isinstance(given, Mapping) else None
        if not isinstance(kind, str) or kind not in OPTIONS:
            return given
        own = {name: OPTIONS[kind].model_fields[name].default for name in OPTIONS[kind].own_scale}
        return own | dict(given)

    @field_validator("edges", mode="before")
    @classmethod
    def _nothing_means_none(cls, given: Any) -> Any:
        return "none" if given is None else given

    @model_validator(mode="after")
    def _entries_hold(self) -> "TransferSpec":
        self.entries()
        return self

    def entries(self) -> list[EdgeOptions]:
        """The entries of the graph, each with its defaults filled in."""
        if self.edges == "none":
            return []
        given: Sequence[dict[str, Any]] = [{}] if self.edges == "all" else self.edges
        made: list[EdgeOptions] = []
        faults = Faults()
        for number, entry in enumerate(given):
            where = "transfer" if self.edges == "all" else f"transfer.edges.{number}"
            with faults.gathered():
                made.append(self._entry(entry, where))
        faults.check()
        return made

    def _entry(self, entry: Mapping[str, Any], where: str) -> EdgeOptions:
        kind = entry.get("knowledge", self.knowledge)
        kind = kind if isinstance(kind, str) else ""
        given = self._around(kind) | dict(entry)
        foreign = {name: owners for name in given if (owners := _owners(name, kind))}
        faults = [
            f"{where}.{name}: belongs to knowledge {owners}; this edge has knowledge {kind!r}"
            for name, owners in foreign.items()
        ]
        if kind and kind not in OPTIONS and not kind.startswith(PREFIX):
            own = f"{PREFIX}package.module:Class"
            raise unknown_name("knowledge", kind, [*OPTIONS, own], f"{where}.knowledge")
        if kind.startswith(PREFIX):
            form = options = kind_named(kind, f"{where}.knowledge").Options
        else:  # the flat form tells what is no kind, and names the options of all kinds
            options, form = OPTIONS.get(kind, EdgeFields), EdgeFields
        try:
            made = options.model_validate({k: v for k, v in given.items() if k not in foreign})
        except ValidationError as error:
            faults += explain(error, form, where)
        if faults:
            raise InputError("\n".join(faults))
        return made

    def _around(self, kind: str) -> dict[str, Any]:
        """What holds for an entry unless it says otherwise."""
        own = {*SHARED, *FIELDS_OF.get(kind, ())}
        if kind != self.knowledge:
            for other in (kind, self.knowledge):
                own -= set(OPTIONS[other].own_scale) if other in OPTIONS else set()
        around = {
            field.alias or name: getattr(self, name)
            for name, field in EdgeFields.model_fields.items()
            if name in self.model_fields_set and name in own
        }
        return around | (getattr(self, kind) if kind in OPTIONS else {})


def _owners(name: str, kind: str) -> str:
    """The kinds whose option a name is, where it is none of `kind`; empty otherwise."""
    owners = [repr(other) for other, names in FIELDS_OF.items() if name in names]
    return "" if kind not in OPTIONS or repr(kind) in owners else " or ".join(owners)
