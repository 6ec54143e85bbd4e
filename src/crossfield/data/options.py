"""What a run can be told about its data: one config, so that flags, recipes and Python say the same words."""

from datetime import date, time
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from crossfield.config import Config
from crossfield.schema import FeatureSchema, Kind

SplitKind = Literal["time", "random", "user", "leave_one_out"]


class DataConfig(Config):
    """The [data] section of a recipe."""

    path: str | None = None
    """File, folder, glob, or name of a public data set to train on."""
    valid: str | None = None
    """File to validate on; without it a part of the training data is split off."""
    label: str | None = None
    """Label column, or a condition on one such as rating>=4; without it every row is a positive."""
    positive: str | bool | float | None = None
    """The label value that means yes, for labels that are not 0 and 1."""
    user: str | None = None
    """Column that names the user."""
    item: str | None = None
    """Column that names the item."""
    time: str | None = None
    """Column that orders the rows in time; used to split, never as a feature."""
    weight: str | None = None
    """Column with the weight of each row."""
    ignore: tuple[str, ...] = ()
    """Columns to leave out."""
    kinds: dict[str, Kind] = Field(default_factory=dict)
    """Column = kind (dense, categorical, multi, sequence), where the guess is wrong."""
    separators: dict[str, str] = Field(default_factory=dict)
    """Column = what separates its values, for multi-valued text such as Action|Comedy."""
    crosses: tuple[tuple[str, ...], ...] = ()
    """Features to AND with each other, for wide parts and logistic regression: [["user", "genre"], ...]."""
    embed_crosses: bool = False
    """Give crosses an embedding as well."""
    given_schema: FeatureSchema | None = None
    """What the columns are, whole: kept here where --schema named a file, so that the recipe needs none."""
    columns: tuple[str, ...] | None = None
    """Column names, for text files without a header."""
    header: bool | None = None
    """Whether text files start with a header; guessed when not given."""
    separator: str | None = None
    """What separates the columns of text files; guessed when not given."""
    missing: tuple[str, ...] = ("",)
    """What means "no value", beside the empty text: ["?", "-999"]; -999 does as a number too, in rows of any kind."""
    split: SplitKind | None = None
    """How to split off validation and test rows: by time where there is a time column, else at random."""
    split_seed: int = Field(0, ge=0, le=2**63 - 1)
    """Decides which rows, or which users, a split at random or by user puts into which part; train.seed does not."""
    sizes: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Shares of training, validation and test rows when splitting; 0 leaves a part out. Without validation rows all
    epochs are trained and the last weights kept."""
    negative_rate: float = Field(1.0, gt=0, le=1)
    """Share of the negative training rows to keep; scores are corrected for it."""

    @field_validator("positive", mode="before")
    @classmethod
    def _check_positive(cls, value: object) -> object:
        if isinstance(value, date | time | list | dict):
            raise ValueError(f"{value} is no label value: write a text in quotes, a number, true or false")
        return value

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if self.positive is not None and self.label is None:
            raise ValueError("positive needs a label column")
        if min(self.sizes) < 0 or abs(sum(self.sizes) - 1) > 1e-6:
            raise ValueError(f"sizes must be shares that add up to 1, not {self.sizes}")
        return self

    def columns_of(self) -> dict[str, Any]:
        """The arguments of ``load`` that this section holds."""
        names = (
            "label",
            "positive",
            "user",
            "item",
            "time",
            "weight",
            "ignore",
            "kinds",
            "separators",
            "crosses",
            "embed_crosses",
        )
        return {name: getattr(self, name) for name in names}
