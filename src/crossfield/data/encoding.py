"""What the encoder can be told: one config for all features, and exceptions by feature."""

from dataclasses import dataclass

from pydantic import Field, model_validator

from crossfield.config import Config
from crossfield.data.numeric import Transform
from crossfield.errors import ConfigError, SchemaError, nearest
from crossfield.schema import Feature, FeatureSchema, Kind

NUM_QUANTILES = {"buckets": 10, "quantile": 100}


class FeatureEncoding(Config):
    """Exceptions for one feature; what is not set follows the encoder's own settings."""

    transform: Transform | None = None
    """Of a dense feature any; of a categorical feature that holds numbers, squared_log or buckets."""
    num_buckets: int | None = Field(None, ge=2)
    """How many quantiles buckets (10) and quantile (100) use."""
    boundaries: tuple[float, ...] | None = None
    """Where buckets begin, rising; a boundary belongs to the bucket above it. Instead of quantiles."""
    min_count: int | None = Field(None, ge=1)
    """Tokens with fewer training rows become the unseen id."""
    max_size: int | None = Field(None, ge=1)
    """Keep the most frequent tokens only."""
    hash_buckets: int | None = Field(None, ge=1, lt=2**31 - 2)
    """Hash tokens into this many ids instead of counting them."""

    @model_validator(mode="after")
    def _check(self) -> "FeatureEncoding":
        if self.hash_buckets is not None and (self.min_count is not None or self.max_size is not None):
            raise ValueError("hash_buckets counts nothing: leave out min_count and max_size")
        if self.boundaries is not None and (
            not self.boundaries or list(self.boundaries) != sorted(set(self.boundaries))
        ):
            raise ValueError("boundaries must rise")
        if self.boundaries is not None and (self.transform not in (None, "buckets") or self.num_buckets is not None):
            raise ValueError("boundaries go with transform = 'buckets' and without num_buckets")
        return self


class EncoderConfig(Config):
    """The [encoder] section of a recipe."""

    min_count: int = Field(1, ge=1)
    """Ids with fewer training rows become the unseen id."""
    max_size: int | None = Field(None, ge=1)
    """Keep this many ids per field, the most frequent ones."""
    hash_buckets: int | None = Field(None, ge=1, lt=2**31 - 2)
    """Hash ids into this many rows per field instead of counting them; hashed ids cannot be read back."""
    unseen_rate: float = Field(0.0, ge=0, lt=1)
    """Share of ids replaced by the unseen id in training, so that its row is trained."""
    max_length: int = Field(50, ge=1)
    """Values kept per row of a multi-valued feature or a sequence, the last ones."""
    dense: Transform = "standardize"
    """What happens to numbers: standardize (mean 0, sd 1), log1p (sign(x) ln(1 + |x|), standardised), squared_log
    (Criteo's: floor((ln x)^2) above 2), quantile (Wide & Deep's, 0 to 1), buckets (become ids), none."""
    missing_indicator: bool = False
    """Add a 0/1 column for every dense feature that has missing training values."""
    features: dict[str, FeatureEncoding] = Field(default_factory=dict)
    """Exceptions, by feature."""

    def rule(self, feature: Feature) -> "Rule":
        """What holds for one feature."""
        own = self.features.get(feature.name, FeatureEncoding())
        transform = own.transform or (self.dense if feature.kind is Kind.DENSE else "none")
        transform = "buckets" if own.boundaries else transform
        counted = own.min_count is not None or own.max_size is not None or transform == "buckets"
        return Rule(
            transform=transform,
            num_quantiles=own.num_buckets or NUM_QUANTILES.get(transform, 1),
            boundaries=own.boundaries,
            min_count=own.min_count or self.min_count,
            max_size=own.max_size or self.max_size,
            hash_buckets=own.hash_buckets or (None if counted else self.hash_buckets),
        )

    def check(self, schema: FeatureSchema) -> None:
        """Raise ConfigError or SchemaError where an exception or a cross does not fit the schema's features."""
        known = [one.name for one in schema.features]
        for name, own in self.features.items():
            if name not in known:
                raise ConfigError(f"encoder.features.{name}: no such feature{nearest(name, known)}")
            _check_transform(schema[name], own, self.rule(schema[name]).transform)
        for one in schema.features:
            if one.kind is Kind.CROSS:
                self._check_cross(one, schema)

    def _check_cross(self, cross: Feature, schema: FeatureSchema) -> None:
        if len(cross.of) < 2:
            raise SchemaError(f"cross {cross.name!r} is made of {list(cross.of)}; it needs two or more features")
        for part in (schema[name] for name in cross.of):
            if part.kind is Kind.CROSS:
                raise SchemaError(f"cross {cross.name!r} is made of the cross {part.name!r}; name its features instead")
            if part.kind is Kind.DENSE and self.rule(part).transform != "buckets":
                raise SchemaError(
                    f"cross {cross.name!r} is made of the dense feature {part.name!r}; "
                    f"set encoder.features.{part.name}.transform = 'buckets', or make it categorical"
                )


def _check_transform(feature: Feature, own: FeatureEncoding, transform: Transform) -> None:
    fits = {Kind.DENSE: None, Kind.CATEGORICAL: ("none", "squared_log", "buckets")}.get(feature.kind, ("none",))
    key = f"encoder.features.{feature.name}"
    if fits is not None and transform not in fits:
        raise ConfigError(f"{key}.transform = {transform!r} does not fit a {feature.kind} feature; use {fits}")
    if own.num_buckets is not None and transform not in NUM_QUANTILES:
        raise ConfigError(f"{key}.num_buckets goes with transform = 'buckets' or 'quantile', not {transform!r}")


@dataclass(frozen=True)
class Rule:
    """What holds for one feature, exceptions resolved."""

    transform: Transform
    num_quantiles: int
    boundaries: tuple[float, ...] | None
    min_count: int
    max_size: int | None
    hash_buckets: int | None
