"""Models by name: the built-in ones of a task, those of other libraries, and the user's own."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.importing import PREFIX, imported
from peerlearn.memory import check_memory
from peerlearn.models.arguments import argument_defaults, check_arguments, check_count
from peerlearn.randomness import preserved_rng

FORM = f"{PREFIX}package.module:function"
Builder = Callable[..., nn.Module]
"""`(sample, classes, *, arguments of its own) -> nn.Module`."""
LibraryBuilder = Callable[[str, Any, int, Mapping[str, Any], str], nn.Module]
"""`(name there, sample, classes, arguments, field) -> nn.Module`."""


class ModelInfo(NamedTuple):
    """A line of `peerlearn ls models`."""

    name: str
    summary: str
    arguments: dict[str, Any]


class Models:
    """The networks that a task can have as peers.

    Args:
        builders: each under its own name; the first line of its docstring describes it, and its
            signature is the only list of its arguments.
        sample: name of the parameter by which builders are told what a row is.
        check_sample: `(sample, model, field)` to what the builders get, or an `InputError`.
        libraries: builders of networks of other libraries, which are named `LIBRARY:NAME`.
    """

    def __init__(
        self,
        *builders: Builder,
        sample: str,
        check_sample: Callable[[Any, str, str], Any],
        libraries: Mapping[str, LibraryBuilder] | None = None,
    ) -> None:
        self.builders = {builder.__name__: builder for builder in builders}
        self.libraries = dict(libraries or {})
        self._sample, self._check_sample = sample, check_sample

    @property
    def names(self) -> list[str]:
        """Every built-in name."""
        return list(self.builders)

    def describe(self) -> list[ModelInfo]:
        """Name, one-line description and argument defaults of every built-in model."""
        return [
            ModelInfo(
                name, (inspect.getdoc(builder) or "").partition("\n")[0], argument_defaults(builder)
            )
            for name, builder in self.builders.items()
        ]

    def knows(self, name: str) -> bool:
        """Whether that is the name of a model; of others than built-in ones, by its prefix."""
        return (
            name in self.builders
            or name.startswith(PREFIX)
            or name.partition(":")[0] in self.libraries
        )

    def check(self, name: str, field: str = "model") -> None:
        """Raise `InputError` where no model has that name; see `knows`."""
        if not self.knows(name):
            theirs = (f"{library}:NAME" for library in self.libraries)
            raise unknown_name("model", name, [*self.builders, *theirs, FORM], field)

    def build(
        self,
        name: str,
        sample: Any,
        classes: int,
        arguments: Mapping[str, Any] | None = None,
        field: str = "model",
    ) -> nn.Module:
        """Build a network; its weights come from torch's global generator, which the caller seeds.

        Args:
            name: one of `names`; `LIBRARY:NAME` for a network of another library; or
                `python:package.module:function` for the user's own, which is passed `classes` and
                what a row is where it names them.
            sample: what a row is: for images and vectors the shape of one, (C, H, W) or (F,); for
                graphs the number of node features.
            classes: number of logits.
            arguments: keyword arguments of the model; see `describe`.
            field: the configuration field that holds `name`, for error messages.

        Raises InputError: unknown name, unknown or wrong argument, or rows that the model does not
        take.
        """
        context = {
            self._sample: self._check_sample(sample, name, field),
            "classes": check_count("classes", classes, field),
        }
        if arguments is not None and not isinstance(arguments, Mapping):
            raise InputError(
                f"{field}: arguments = {arguments!r}: expected a mapping of names to values"
            )
        arguments = arguments or {}
        if not isinstance(name, str):
            raise InputError(f"{field}: {name!r}: expected the name of a model")
        if name.startswith(PREFIX):
            return build_custom(name, context, arguments, field)
        self.check(name, field)
        library, _, theirs = name.partition(":")
        if theirs:
            build, checked_sample = self.libraries[library], context[self._sample]
            return build(theirs, checked_sample, context["classes"], arguments, field)
        checked = check_arguments(name, self.builders[name], arguments, field)
        if torch.get_default_device().type != "meta":  # where weights take no memory
            check_memory(_weight_bytes(partial(self.builders[name], **context, **checked)), field)
        try:
            return self.builders[name](**context, **checked)
        except InputError as error:
            raise InputError(f"{field}: {name} {error}") from None


def _weight_bytes(build: Callable[[], nn.Module]) -> int:
    """What the weights of a network take, found without taking it; 0 where that cannot be found."""
    try:
        with preserved_rng(), torch.device("meta"):
            tensors = build().state_dict().values()
    except Exception:  # the network itself says what is wrong with its arguments
        return 0
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def build_custom(
    name: str, context: Mapping[str, Any], arguments: Mapping[str, Any], field: str
) -> nn.Module:
    """Import a factory and call it with `arguments`.

    What the data decide, `context`, is passed too where the factory names it as a parameter and
    the user has not given it: `in_shape` (or `shape`, `sample_shape`) and `classes`, or `features`
    and `classes`. The current directory can be imported from meanwhile, as under `python -m`.

    Raises InputError: no such module or attribute, arguments that do not fit, a factory that
    raises, or a result that is not a `torch.nn.Module`.
    """
    with imported(name, field, "function", "builds a model") as factory:
        return _call(factory, context, arguments, name, field)


def _call(
    factory: Callable[..., Any],
    context: Mapping[str, Any],
    arguments: Mapping[str, Any],
    name: str,
    field: str,
) -> nn.Module:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some callables written in C have none
        signature = inspect.Signature(
            [inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)]
        )
    called = dict(context)
    if "in_shape" in context:  # by the names that people use
        called |= dict.fromkeys(("shape", "sample_shape"), context["in_shape"])
    taken = {key: value for key, value in called.items() if key in signature.parameters}
    keywords = {**taken, **arguments}
    try:
        signature.bind(**keywords)
    except TypeError as error:
        for key in arguments:
            if key not in signature.parameters:
                allowed = set(signature.parameters) - set(context)
                raise unknown_name(f"argument of {name}", str(key), allowed, field) from None
        raise InputError(f"{field}: {name}{signature}: {error}") from None
    try:
        model = factory(**keywords)
    except Exception as error:
        raise InputError(f"{field}: {name} raised {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{field}: {name} returned {type(model).__name__}; expected a torch.nn.Module"
        )
    return model
