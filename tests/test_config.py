import pytest
from pydantic import Field, model_validator

from crossfield.config import Config, parse_value, settings_of
from crossfield.errors import ConfigError


class Inner(Config):
    depth: int = 2
    """How deep."""


class Outer(Config):
    learning_rate: float = Field(0.1, gt=0)
    """Step size."""
    inner: Inner = Inner()
    """The inner part."""


def test_field_docs_are_read_from_under_the_field() -> None:
    assert Outer.model_fields["learning_rate"].description == "Step size."
    assert settings_of(Outer)[0] == {"key": "learning_rate", "default": "0.1", "doc": "Step size."}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1}, "unknown key 'train.learning_rat'; did you mean 'learning_rate'?"),
        ({"inner": {"dept": 1}}, "unknown key 'train.inner.dept'; did you mean 'depth'?"),
        ({"zzz": 1}, "unknown key 'train.zzz'; known: learning_rate, inner"),
        ({"learning_rate": -1}, "train.learning_rate = -1: input should be greater than 0"),
        ({"learning_rate": "fast"}, 'train.learning_rate = "fast": input should be a valid number'),
        ({"learning_rate": float("nan")}, "train.learning_rate = NaN"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.of(values, prefix="train")
    assert message in str(caught.value)


class Shares(Config):
    sizes: tuple[float, float, float] = (0.8, 0.1, 0.1)
    """Three shares."""


def test_a_list_that_is_too_short_says_how_long_it_should_be() -> None:
    for sizes in ([0.5, 0.5], []):
        with pytest.raises(ConfigError) as caught:
            Shares.of({"sizes": sizes}, prefix="data")
        assert str(caught.value) == f"data.sizes = {sizes}: there must be 3 values"


class Paired(Config):
    heads: int = 2
    """How many."""
    width: int = 8
    """Shared by the heads."""

    @model_validator(mode="after")
    def _check(self) -> "Paired":
        if self.width % self.heads:
            raise ValueError(f"width = {self.width} is not a multiple of heads = {self.heads}")
        return self


class Holder(Config):
    pair: Paired = Paired()
    """Two numbers that have to fit."""


def test_a_sentence_of_our_own_stands_alone() -> None:
    for config, values, prefix, place in (
        (Paired, {"heads": 3}, "model", "model: "),
        (Paired, {"heads": 3}, "", ""),
        (Holder, {"pair": {"heads": 3}}, "train", "train.pair: "),
    ):
        with pytest.raises(ConfigError) as caught:
            config.of(values, prefix=prefix)
        assert str(caught.value) == f"{place}width = 8 is not a multiple of heads = 3"


def test_override_checks_and_copies() -> None:
    first = Outer.of({"learning_rate": 0.5})
    second = first.override({"inner": {"depth": 3}})
    assert (second.learning_rate, second.inner.depth, first.inner.depth) == (0.5, 3, 2)
    with pytest.raises(ConfigError, match="greater than 0"):
        first.override({"learning_rate": 0})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("12", 12),
        ("true", True),
        ("[400, 400]", [400, 400]),
        ("dcn", "dcn"),
        ('"7"', "7"),
        ("", ""),
        ("2024-01-01", "2024-01-01"),
        ("10:30:00", "10:30:00"),
    ],
)
def test_values_of_the_command_line(text: str, value: object) -> None:
    assert parse_value(text) == value
