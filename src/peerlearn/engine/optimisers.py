"""Optimisers by name: those of torch, or of one's own."""

import inspect
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from pydantic import ConfigDict, model_validator
from torch import nn

from peerlearn.errors import InputError, unknown_name
from peerlearn.importing import PREFIX, imported
from peerlearn.validation import LARGEST, Spec, short_form

#: What an optimiser gets where its configuration is silent; the field's usual values.
DEFAULT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "adam": {},
    "adamw": {"weight_decay": 0.01},
}
#: How many tensors like a parameter these keep of it so, and how many single numbers in fp32.
KEPT = {"sgd": (1, 0), "adam": (2, 1), "adamw": (2, 1)}


def optimiser_classes() -> dict[str, type[torch.optim.Optimizer]]:
    """Every optimiser of `torch.optim` that steps on plain gradients, by its name in lower case."""
    left_out = {"optimizer", "lbfgs", "sparseadam", "muon"}  # muon: of matrices alone
    return {
        name.lower(): member
        for name, member in vars(torch.optim).items()
        if inspect.isclass(member)
        and issubclass(member, torch.optim.Optimizer)
        and name.lower() not in left_out
    }


#: Arguments of torch's optimisers that are refused, and why.
LEFT_OUT = {
    "maximize": "training makes losses small, and would climb them",
    "differentiable": "nothing is differentiated through a step",
    "capturable": "steps are not captured as CUDA graphs",
}


def _arguments(optimiser: type[torch.optim.Optimizer]) -> dict[str, inspect.Parameter]:
    """What can be said to an optimiser, by name."""
    parameters = dict(inspect.signature(optimiser).parameters)
    left_out = ("params", "lr", *LEFT_OUT)
    return {name: it for name, it in parameters.items() if name not in left_out}


def _wrong(value: Any, parameter: inspect.Parameter) -> str:
    """What is wrong with the type of an argument, by its default and annotation; empty if nothing.

    Ranges are left to torch.
    """
    default, annotation = parameter.default, str(parameter.annotation)
    if isinstance(default, tuple):
        listed = isinstance(value, list | tuple) and len(value) == len(default)
        if not listed or not all(
            _finite(each) or (each is None and usual is None)
            for each, usual in zip(value, default, strict=True)
        ):
            return f"found {value!r}; expected {len(default)} numbers, such as {list(default)}"
        return ""
    if value is None and (default is None or "None" in annotation or "Optional" in annotation):
        return ""
    if isinstance(default, bool) or "bool" in annotation:
        return "" if isinstance(value, bool) else f"found {value!r}; expected true or false"
    if isinstance(default, str):
        return "" if isinstance(value, str) else f"found {value!r}; expected a text"
    return "" if _finite(value) else f"found {value!r}; expected a number"


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST


class OptimiserSpec(Spec):
    """An optimiser of `torch.optim` by name; further keys are its own arguments.

    A name alone is a short form: `optimiser: adamw`. Arguments are those of torch but for some that
    are no business of a recipe (`LEFT_OUT`). `sgd` is by default Nesterov's, where it has momentum
    and no dampening.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "sgd"

    _name_alone = short_form("name")

    @property
    def arguments(self) -> dict[str, Any]:
        """What was said beside the name."""
        return self.__pydantic_extra__ or {}

    @property
    def is_usual(self) -> bool:
        """Whether it is known to work, and what it keeps: to try it imports torch's compiler."""
        if self.name not in DEFAULT_ARGUMENTS:
            return False
        usual = DEFAULT_ARGUMENTS[self.name]
        others = [key for key, value in self.arguments.items() if usual.get(key) != value]
        return not others or (others == ["weight_decay"] and self.arguments["weight_decay"] >= 0)

    @model_validator(mode="after")
    def _known(self) -> "OptimiserSpec":
        if self.name.startswith(PREFIX):
            return self  # its arguments are told when it is made
        classes = optimiser_classes()
        if self.name not in classes:
            raise unknown_name("optimiser", self.name, classes, "optimiser.name")
        allowed = _arguments(classes[self.name])
        for key, value in self.arguments.items():
            if key in LEFT_OUT:
                raise InputError(f"optimiser.{key}: {LEFT_OUT[key]}; leave it out")
            if key not in allowed:
                raise unknown_name(f"argument of {self.name}", key, allowed, "optimiser")
            if fault := _wrong(value, allowed[key]):
                raise InputError(f"optimiser.{key}: {fault}")
        if not self.is_usual:
            self._try()
        return self

    def _try(self) -> None:
        """See that the optimiser can be made and makes a step, of a matrix and a vector."""
        parameters = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        given = self.arguments
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.build(parameters, 0.1).step()
        except Exception as error:  # whatever an optimiser of torch makes of its arguments
            said = (str(error) or type(error).__name__).splitlines()[0]
            words = re.findall(r"\w+", said.lower())
            key = next((k for k in given if any(w.startswith(k.rstrip("s")) for w in words)), None)
            field = "optimiser" if key is None else f"optimiser.{key}"
            shown = ", ".join(f"{key}: {value}" for key, value in given.items())
            raise InputError(
                f"{field}: {self.name} of torch refuses {shown or 'its defaults'}: {said}"
            ) from None

    def build(
        self, parameters: Iterable[nn.Parameter], lr: float, undecayed: Sequence[nn.Parameter] = ()
    ) -> torch.optim.Optimizer:
        """The optimiser over `parameters`, and over `undecayed` ones without weight decay."""
        arguments = DEFAULT_ARGUMENTS.get(self.name, {}) | self.arguments
        if "nesterov" not in self.arguments and (
            not arguments.get("momentum", True) or arguments.get("dampening")
        ):
            arguments.pop("nesterov", None)  # a default alone, which needs momentum undamped
        groups: list[dict[str, Any]] = [{"params": list(parameters)}]
        if undecayed:
            groups.append({"params": list(undecayed), "weight_decay": 0.0})
        if self.name.startswith(PREFIX):
            return self._own(groups, lr)
        return optimiser_classes()[self.name](groups, lr=lr, **arguments)  # type: ignore[call-arg]

    def _own(self, groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
        with imported(self.name, "optimiser.name", "class", "makes an optimiser") as made:
            try:
                optimiser = made(groups, lr=lr, **self.arguments)
            except (TypeError, ValueError) as error:
                raise InputError(f"optimiser: {self.name} raised {error}") from error
        if not isinstance(optimiser, torch.optim.Optimizer):
            found = type(optimiser).__name__
            raise InputError(f"optimiser: {self.name} gave {found}; expected a torch Optimizer")
        return optimiser
