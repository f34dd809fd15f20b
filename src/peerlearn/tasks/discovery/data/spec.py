"""What a configuration may say about data in which some classes have no labels."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from peerlearn.data.spec import Damaged, Fit, Side, SourceSpec, fraction_or_count, stem


class DiscoveryDataSpec(SourceSpec):
    """The `data` block of category discovery: labelled rows of known classes, unlabelled ones.

    Either one data set, in which the labels of all but the known classes are hidden and used to
    measure alone; or two, `labelled` and `unlabelled`, which take the place of `name`. Rows of one
    data set that have no label (−1) are unlabelled; where there are any, its classes are all known
    unless `known` says otherwise.
    """

    name: str = Field("digits", description="a data set of `peerlearn ls data`, or a path")
    known: Annotated[int, Field(ge=2)] | tuple[int | str, ...] | None = Field(
        None,
        description="known classes: how many, the first ones; or which, by number or name. "
        "Default: the first half, rounded up",
    )
    labelled: str | None = Field(
        None, description="an .npz or folder of labelled rows, used with `unlabelled`"
    )
    unlabelled: str | None = Field(
        None, description="an .npz or folder of unlabelled rows; labels in it only measure"
    )
    overlap: bool = Field(
        False, description="the unlabelled file may hold rows of known classes (generalised)"
    )
    unlabelled_known: float = Field(
        0.0, ge=0, lt=1, description="share of labelled rows that lose their label (generalised)"
    )
    test_size: Annotated[float, AfterValidator(fraction_or_count)] = Field(
        0.1,
        ge=0,
        description="held out of train where the data has no test: a fraction, or a count; 0: none",
    )
    size: Side | None = Field(
        None, description="side in pixels to which the images of folders are fitted"
    )
    fit: Fit = Field(
        "crop",
        description="how: crop what stands over, pad with black, or resize out of proportion",
    )
    damaged: Damaged = Field(
        "refuse", description="images of folders that cannot be read: refuse to run, or leave_out"
    )

    @model_validator(mode="after")
    def _one_or_two_sets(self) -> Self:
        if (self.labelled is None) != (self.unlabelled is None):
            given, other = ("labelled", "unlabelled")[:: 1 if self.labelled else -1]
            raise ValueError(
                f"{given}: given without {other!r}; name both, or one data set as `name`"
            )
        if self.two_sets and self.known is not None:
            raise ValueError(
                "known: the classes of `labelled` are the known ones; leave this key out"
            )
        if self.overlap and not self.two_sets:
            raise ValueError(
                "overlap: is about two files; in one data set, `unlabelled_known` is the share of "
                "rows of known classes that are unlabelled"
            )
        return self

    @model_validator(mode="after")
    def _classes_once(self) -> Self:
        chosen: Any = self.known if isinstance(self.known, tuple) else ()
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"known: {list(chosen)} names a class twice")
        return self

    @property
    def generalised(self) -> bool:
        """Whether unlabelled rows may be of known classes."""
        return self.overlap or self.unlabelled_known > 0

    @property
    def two_sets(self) -> bool:
        """Whether labelled and unlabelled rows are in a file each."""
        return self.labelled is not None

    @property
    def short_name(self) -> str:
        """The name as results show it; of two files, both names."""
        if self.labelled is None or self.unlabelled is None:
            return stem(self.name)
        return f"{stem(self.labelled)}+{stem(self.unlabelled)}"

    def named(self, name: str) -> Self:
        return self.model_copy(update={"name": name, "labelled": None, "unlabelled": None})
