"""Divergences of the user's own, named `python:package.module:function`."""

import inspect

import torch
from torch import Tensor

from peerlearn.errors import InputError
from peerlearn.importing import imported


class OwnDivergence:
    """A function of the user's of the logits of teachers and learners, row by row.

    It is given teacher and learner, fp32 (M, C) each, where a class that is masked may be −∞, and
    gives one number a row, (M,). Where it has a parameter `temperature` it is told that of the
    entry; its result is not scaled by it again.

    Args:
        name: `python:package.module:function`.
        temperature: of the entry.
        field: the entry, for messages.

    Raises InputError: a name that cannot be imported, or a temperature that it would not see.
    """

    def __init__(self, name: str, temperature: float, field: str) -> None:
        self.name, self.field, self.keywords = name, field, {}
        with imported(name, f"{field}.divergence", "function", "compares logits") as self.function:
            try:
                reads = "temperature" in inspect.signature(self.function).parameters
            except (TypeError, ValueError):  # some callables of C show no parameters
                reads = False
        if reads:
            self.keywords = {"temperature": temperature}
        elif temperature != 1:
            raise InputError(
                f"{field}.temperature: found {temperature} with divergence {name!r}, which has no "
                "parameter 'temperature'"
            )

    def __call__(self, teacher: Tensor, learner: Tensor) -> Tensor:
        """The divergences of logits (..., C), (...); several teachers (T, ..., C) give (T, ...).

        Called once for each pair, for it may look at more than a row at a time.

        Raises InputError: the function fails, or gives another shape.
        """
        if teacher.ndim > learner.ndim:
            return torch.stack([self(each, learner) for each in teacher])
        pair = [side.reshape(-1, side.shape[-1]) for side in (teacher, learner)]
        where, shape = f"{self.field}.divergence: {self.name}", tuple(pair[0].shape)
        try:
            found = self.function(*pair, **self.keywords)
        except Exception as error:
            raise InputError(f"{where} raised {type(error).__name__}: {error}") from error
        if not isinstance(found, Tensor) or found.shape != shape[:1]:
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"{where} gave {what} for logits {shape}; expected a number a row, {shape[:1]}: "
                "only the last dimension is reduced"
            )
        return found.float().reshape(learner.shape[:-1])
