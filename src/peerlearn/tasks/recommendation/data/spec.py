"""What a configuration may say about interactions of users with items."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from peerlearn.data.spec import SourceSpec
from peerlearn.validation import Spec

Share = Annotated[float, Field(gt=0, lt=1)]
Split = Literal["auto", "given", "random", "per_user", "temporal", "cold_user", "cold_item"]


class WorldSpec(Spec):
    """The `world` block: how large the data set `synthetic` is, and what drives it."""

    users: int = Field(200, ge=2, le=1_000_000, description="how many users")
    items: int = Field(300, ge=2, le=1_000_000, description="how many items")
    listens: int = Field(
        20, ge=1, le=10_000, description="items of a user on average; nobody has fewer than half"
    )
    friends: int = Field(4, ge=0, le=1_000, description="friends that a user names")
    factors: int = Field(
        8, ge=3, le=512, description="latent factors of taste; the first two are the mood of items"
    )
    homophily: float = Field(
        0.8, ge=0, le=1, description="share of friends chosen for their taste; the rest by chance"
    )
    social: float = Field(
        0.3, ge=0, le=1, description="weight of friends' taste beside that of a user's own"
    )
    emotion: float = Field(
        1.0, ge=0, le=100, description="weight of the mood that a user likes in what they choose"
    )
    noise: float = Field(
        0.5, ge=0, le=100, description="deviation of the noise in what the views show of factors"
    )
    absent: float = Field(
        0.1, ge=0, lt=1, description="share of items that a view knows nothing of, each by itself"
    )
    labelled: float = Field(0.5, ge=0, le=1, description="share of items with valence and arousal")
    seed: int = Field(0, ge=0, lt=1 << 63, description="of the world; split_seed only divides it")


class RecommendationDataSpec(SourceSpec):
    """The `data` block of a recommendation recipe, whose rows are pairs of a user and an item."""

    name: str = Field(
        "synthetic", description="a recommendation data set of `peerlearn ls data`, or a path"
    )
    train_size: Annotated[int, Field(ge=1)] | None = Field(
        None, description="training pairs to keep, drawn from all of them; the others are left out"
    )
    split: Split = Field(
        "auto",
        description="given: as the data say; random: pairs; per_user: of each user's items; "
        "temporal: the latest pairs; cold_user, cold_item: users or items that train has not "
        "seen; auto: given where the data say it, else per_user",
    )
    test_share: Share | Literal["auto"] = Field(
        "auto", description="of pairs, users or items, where the split is drawn (auto: 0.1)"
    )
    val_share: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = Field(
        "auto",
        description="likewise (auto: 0.1); of a given split without validation, the share of each "
        "user's training items (auto: 0.125). 0: none, what a given split validates on trains too, "
        "to train again once everything is chosen",
    )
    min_value: Annotated[float, Field(ge=0, le=1e9)] | None = Field(
        None, description="least rating, or least count where there are none, of a pair that counts"
    )
    k_core: int = Field(
        0, ge=0, le=100_000, description="least pairs of every user and every item; 0: any"
    )
    core: bool = Field(
        False, description="keep the items that the array core_item of an .npz marks, alone"
    )
    friends: str | None = Field(
        None, description="csv with columns user, friend; in place of those of the data"
    )
    features: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="table of items, or a list of them: csv, npz or npy; a modality each"
    )
    emotion: str | None = Field(
        None, description="csv with columns item, valence, arousal, from -1 to 1"
    )
    components: int = Field(
        64, ge=1, le=4096, description="features that are made of tags or of words"
    )
    standardise: bool = Field(
        True, description="each feature of a table to mean 0 and deviation 1 over the items"
    )
    without: tuple[str, ...] = Field((), description="modalities that are left out, by name")
    missing: float = Field(
        0, ge=0, le=1, description="share of the items of each modality that are hidden, the same "
        "for a split_seed; those hidden at .2 are hidden at .4",
    )  # fmt: skip
    world: WorldSpec | None = Field(
        None, description="of the data set `synthetic`: its sizes and what drives it"
    )

    @field_validator("without", mode="before")
    @classmethod
    def _a_list(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _shares_leave_train(self) -> Self:
        test, val = self.test_share, self.val_share
        if not isinstance(test, str) and not isinstance(val, str) and test + val >= 1:
            raise ValueError(f"test_share: {test} and val_share: {val} leave nothing to train on")
        return self

    @property
    def feature_paths(self) -> tuple[str, ...]:
        """The paths of `features`, of which one may stand alone."""
        if self.features is None:
            return ()
        return (self.features,) if isinstance(self.features, str) else self.features
