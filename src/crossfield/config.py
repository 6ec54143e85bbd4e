"""Strict frozen configurations: one doc line under each field, overrides by dotted name, hints on typos."""

import inspect
import json
import tomllib
from collections.abc import Mapping
from datetime import date, time
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from crossfield.errors import ConfigError, nearest


class Config(BaseModel):
    """Base of every configuration: frozen, unknown keys refused, fields documented under themselves."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )

    @classmethod
    def of(cls, values: Mapping[str, Any], *, prefix: str = "") -> Self:
        """Build from plain values, as read from TOML or JSON.

        Raises ConfigError naming the key (with ``prefix``), the value, and the nearest known key.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_explain(cls, error, prefix)) from None

    def override(self, values: Mapping[str, Any], *, prefix: str = "") -> Self:
        """A copy with some fields set, checked like any other."""
        return self.of({**self.model_dump(exclude_unset=True), **values}, prefix=prefix)


def parse_value(text: str) -> Any:
    """The value of ``--set key=VALUE``: TOML where it parses (numbers, lists, booleans), else the text itself.

    Dates are text: no setting is one, but a label may be written so.
    """
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if isinstance(value, date | time) else value


def settings_of(config: type[Config]) -> list[dict[str, str]]:
    """Key, default and meaning of each field of a config, read from its doc lines."""
    return [
        {
            "key": name,
            "default": "required" if one.is_required() else str(one.get_default(call_default_factory=True)),
            "doc": inspect.cleandoc(one.description or "").replace("\n", " "),
        }
        for name, one in config.model_fields.items()
    ]


def _explain(cls: type[Config], error: ValidationError, prefix: str) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    key = f"{prefix}.{name}" if prefix else name
    if first["type"] == "extra_forbidden":
        last = str(first["loc"][-1])
        siblings = _fields_at(cls, first["loc"][:-1])
        return f"unknown key {key!r}{nearest(last, siblings)}"
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):
        lacks = sum(one["loc"][:-1] == first["loc"][:-1] for one in error.errors())
        said = f"there must be {len(first['input']) + lacks} values"
        return f"{key.rpartition('.')[0]} = {json.dumps(first['input'], default=str)}: {said}"
    if first["type"] == "missing":
        return f"key {key!r} is required and has no default"
    if first["type"] == "value_error":  # our own sentence, which says the value itself
        return ": ".join(part for part in (key.removesuffix("."), str(first["ctx"]["error"])) if part)
    given = json.dumps(first["input"], default=str)
    return f"{key} = {given}: {first['msg'][:1].lower()}{first['msg'][1:]}"


def _fields_at(cls: type[Config], path: tuple[int | str, ...]) -> list[str]:
    current: Any = cls
    for part in path:
        annotation = current.model_fields[part].annotation if part in getattr(current, "model_fields", {}) else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        current = annotation
    return list(current.model_fields)
