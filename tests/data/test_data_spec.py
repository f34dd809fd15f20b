import pytest
from pydantic import ValidationError

from peerlearn.data.spec import AugmentSpec, DataSpec, NamedDataSpec


@pytest.mark.parametrize(
    ("spec", "field", "value"),
    [
        (DataSpec, "train_size", 0),
        (DataSpec, "labels", -1),
        (DataSpec, "val_size", 0),
        (DataSpec, "val_size", 2.5),
        (DataSpec, "in_memory", "never"),
        (DataSpec, "size", 0),
        (DataSpec, "tain_size", 3),
        (AugmentSpec, "crop", -1),
        (AugmentSpec, "rotation", 181),
        (AugmentSpec, "mixup", 1),
    ],
)
def test_wrong_values_and_unknown_fields_are_refused_by_name(spec, field, value):
    with pytest.raises(ValidationError) as caught:
        spec(**{field: value})
    assert caught.value.errors()[0]["loc"] == (field,) or field in str(caught.value)


def test_defaults_are_digits_without_augmentation():
    assert DataSpec().name == "digits"
    assert not any(value for _, value in AugmentSpec())


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("digits", "digits"),
        ("/a/b/cora.npz", "cora"),
        ("cora.npz", "cora"),
        ("/a/b/pets/", "pets"),
        (".", "."),
    ],
)
def test_a_path_is_shown_without_folder_and_suffix(typed, shown):
    assert NamedDataSpec(name=typed).short_name == shown
