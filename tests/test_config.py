import pytest
from pydantic import Field

from crossfield.config import Config, parse_value
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
    ],
)
def test_values_of_the_command_line(text: str, value: object) -> None:
    assert parse_value(text) == value
