"""Messages about configuration: every fault at once, the field as typed, the nearest match."""

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from peerlearn.errors import InputError, PeerlearnError, RunError, nearest, unknown_name
from peerlearn.validation import validated


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["sgd", "adam"] = "sgd"
    decay: float = Field(0.0, ge=0)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    epochs: int = Field(gt=0)
    source: str | None = Field(None, alias="from")
    inner: Inner = Inner()
    maybe: Inner | None = None
    several: dict[str, Inner] = {}
    listed: list[Inner] = []
    either: Literal["auto"] | list[str] = "auto"
    size: int | Annotated[str, Field(min_length=2)] = 1

    @field_validator("epochs")
    @classmethod
    def _even(cls, value):
        if value % 2:
            raise ValueError("odd numbers of epochs are not for us")
        return value


def message(given, prefix=""):
    with pytest.raises(InputError) as caught:
        validated(Outer, given, prefix)
    return str(caught.value)


def test_what_is_right_is_returned_typed():
    made = validated(Outer, {"epochs": "4", "from": "x", "inner": {"kind": "adam"}})
    assert (made.epochs, made.source, made.inner.kind) == (4, "x", "adam")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "epochs: required"),
        ({"epochs": 2, "form": "x"}, "form: unknown key. Did you mean 'from'?"),
        ({"epochs": 2, "inner-most": 1}, "inner-most: unknown key. Did you mean 'inner'?"),
        ({"epochs": 2, "str": 1}, "str: unknown key."),
        ({"epochs": 2, "inner": {"kin": "sgd"}}, "inner.kin: unknown key. Did you mean 'kind'?"),
        ({"epochs": 2, "maybe": {"dcay": 1}}, "maybe.dcay: unknown key. Did you mean 'decay'?"),
        ({"epochs": 2, "inner": {"kind": "admm"}}, "inner.kind: found 'admm'. Did you mean 'adam'"),
        ({"epochs": 2, "several": {"x": {"decay": -1}}}, "several.x.decay: input should"),
        ({"epochs": 2, "several": {"net-a": {"decay": -1}}}, "several.net-a.decay: input should"),
        ({"epochs": 2, "several": {"net-a": {"dcay": 1}}}, "several.net-a.dcay: unknown key."),
        ({"epochs": 2, "listed": [{}, {"dcay": 1}]}, "listed.1.dcay: unknown key. Did you mean"),
        ({"epochs": 2, "either": "auot"}, "either: found 'auot'. Did you mean 'auto'"),
        ({"epochs": 2, "either": [1]}, "either.0: "),
        ({"epochs": 2, "size": "x"}, "size: "),
        ({"epochs": 0}, "epochs: input should be greater than 0; found 0"),
        ({"epochs": 3}, "epochs: odd numbers of epochs are not for us"),
        ({"epochs": "many"}, "found 'many'"),
        (7, "found 7"),
    ],
)
def test_a_fault_names_the_field_what_was_found_and_the_nearest(given, said):
    assert said in message(given)


def test_paths_carry_no_words_the_user_never_typed():
    lines = message({"epochs": 2, "either": [1], "size": "x", "maybe": {"dcay": 1}}).splitlines()
    fields = {line.split(":")[0] for line in lines}
    assert fields == {"either", "either.0", "size", "maybe.dcay"}


def test_unknown_keys_list_what_is_allowed_at_their_level():
    said = message({"epochs": 2, "inner": {"kin": 1}})
    assert said.endswith("Allowed: decay, kind.")


def test_every_fault_is_reported_at_once_under_the_prefix():
    lines = message({"epochz": 1, "inner": {"decay": -1}}, prefix="stage").splitlines()
    fields = {line.split(":")[0] for line in lines}
    assert fields == {"stage.epochs", "stage.epochz", "stage.inner.decay"}


def test_an_input_error_is_a_value_error_and_a_run_error_is_not():
    assert issubclass(InputError, ValueError)
    assert issubclass(InputError, PeerlearnError)
    assert issubclass(RunError, PeerlearnError)
    assert not issubclass(RunError, ValueError)


def test_nearest_ignores_case_and_gives_up_on_strangers():
    assert nearest("RESNET32", ["resnet32", "wrn"]) == "resnet32"
    assert nearest("resnet23", ["ResNet32", "wrn"]) == "ResNet32"
    assert nearest("zzz", ["resnet32", "wrn"]) is None
    assert nearest("x", []) is None


def test_unknown_names_are_explained():
    error = unknown_name("model", "resnt32", ["wrn", "resnet32"], "peers.a.model")
    assert isinstance(error, InputError)
    assert str(error) == (
        "peers.a.model: unknown model 'resnt32'. Did you mean 'resnet32'? Allowed: resnet32, wrn."
    )
    assert str(unknown_name("model", "zzz", ["wrn"])) == "unknown model 'zzz'. Allowed: wrn."


def test_what_is_no_mapping_is_told_the_keys_of_one():
    assert (
        message({"epochs": 2, "inner": 3}) == "inner: found 3; expected a mapping, of kind, decay."
    )
