"""A mapping whose class depends on one of its keys, such as an attack on its `kind`."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from peerlearn.errors import did_you_mean
from peerlearn.validation import Spec, explain


def chosen_by(key: str, classes: Mapping[str, type[Spec]]) -> Callable[[Any], Any]:
    """A validator to put before: the class that `key` names reads the mapping.

    A text alone is the value of `key`; null stays null.
    """

    def read(given: Any) -> Any:
        if given is None or isinstance(given, Spec):
            return given
        if isinstance(given, str):
            given = {key: given}
        if not isinstance(given, Mapping):
            raise ValueError(f"found {given!r}; expected a name or a mapping with {key!r}")
        name = given.get(key)
        if not isinstance(name, str) or name not in classes:
            hint = did_you_mean(str(name), classes)
            raise ValueError(f"{key}: found {name!r}.{hint} Allowed: {', '.join(classes)}.")
        try:
            return classes[name].model_validate(given)
        except ValidationError as error:
            raise ValueError("\n".join(explain(error, classes[name]))) from None

    return read
