"""A run, whole and flat: data, encoder, model, training and calibration settings in one TOML file."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

import tomli_w

from crossfield.calibration import CalibrationConfig
from crossfield.config import Config
from crossfield.data.encode import EncoderConfig
from crossfield.data.options import DataConfig
from crossfield.errors import ConfigError, nearest
from crossfield.models import CATALOGUE
from crossfield.models.base import ModelConfig
from crossfield.train import TrainConfig

SECTIONS: dict[str, type[Config]] = {
    "data": DataConfig,
    "encoder": EncoderConfig,
    "train": TrainConfig,
    "calibration": CalibrationConfig,
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run except the rows themselves."""

    name: str
    """The model's catalogue name."""
    model: ModelConfig
    data: DataConfig = DataConfig()
    encoder: EncoderConfig = EncoderConfig()
    train: TrainConfig = TrainConfig()
    calibration: CalibrationConfig = CalibrationConfig()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Build from nested plain values: data, encoder, train, calibration, and model with its name.

        Raises ConfigError naming the key that is unknown (with the nearest one) or the value that is impossible.
        """
        check_sections(values)
        model = dict(values.get("model", {}))
        name = model.pop("name", None)
        parts: dict[str, Any] = {
            section: kind.of(values.get(section, {}), prefix=section) for section, kind in SECTIONS.items()
        }
        return cls(name=name, model=model_config(name, model), **parts)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a TOML file; raises ConfigError where it is missing, not TOML, or says something impossible."""
        return cls.of(read_toml(Path(path)))

    def override(self, values: Mapping[str, Any]) -> Self:
        """A copy with dotted keys set: ``{"train.lr": 3e-4, "model.dropout": 0.1}``.

        Setting ``model.name`` to another model starts from that model's defaults.
        """
        nested = self.plain()
        if values.get("model.name", self.name) != self.name:
            nested["model"] = {}
        for key, value in values.items():
            if "." not in key:
                raise ConfigError(f"{key!r} is no recipe key{_with_section(key, values.get('model.name', self.name))}")
            set_dotted(nested, key, value)
        return self.of(nested)

    def plain(self) -> dict[str, Any]:
        """Nested plain values with every default spelled out, as ``of`` takes them; unset optional keys left out."""
        sections = {name: _plain(getattr(self, name)) for name in SECTIONS}
        return {
            "data": sections["data"],
            "encoder": sections["encoder"],
            "model": {"name": self.name, **_plain(self.model)},
            "train": sections["train"],
            "calibration": sections["calibration"],
        }

    def to_toml(self) -> str:
        """The recipe as TOML; reading it gives an equal recipe."""
        return tomli_w.dumps(self.plain())

    @property
    def sha256(self) -> str:
        """Checksum (hex) of what the recipe says, however it was written."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()

    def with_data(self, **changes: Any) -> Self:
        """A copy with some data settings changed."""
        return replace(self, data=self.data.override(changes, prefix="data"))


def check_sections(values: Mapping[str, Any]) -> None:
    """Raise ConfigError on a section that no recipe has, or that is a value instead."""
    for section in values:
        if section not in (*SECTIONS, "model"):
            raise ConfigError(f"unknown section [{section}]{nearest(section, [*SECTIONS, 'model'])}")
        if not isinstance(values[section], Mapping):
            raise ConfigError(f"[{section}] is {values[section]!r}, not a section of keys and values")


def model_config(name: str | None, values: Mapping[str, Any]) -> ModelConfig:
    """The config of a catalogue model; raises ConfigError on an unknown model or setting."""
    if not isinstance(name, str) or name not in CATALOGUE:
        raise ConfigError(f"unknown model {name!r}{nearest(str(name), CATALOGUE)}")
    return CATALOGUE[name].config_type.of(values, prefix="model")


def recipe_path(path: Path) -> Path:
    """A recipe file: as given, or one that the package ships (``frappe/deepfm``)."""
    shipped = files("crossfield") / "recipes" / f"{path}.toml"
    return Path(str(shipped)) if not path.is_file() and shipped.is_file() else path


def read_toml(path: Path) -> dict[str, Any]:
    """Plain values of a TOML file; raises ConfigError naming the file and the line that is wrong."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None


def _with_section(key: str, model: str) -> str:
    """A hint that names the keys of this name in the sections that have one, else the nearest of them."""
    sections = {**SECTIONS, "model": CATALOGUE[model].config_type if model in CATALOGUE else ModelConfig}
    if key in sections:
        return f" but a section: write {key}.{'name' if key == 'model' else 'KEY'}"
    known = ["model.name", *(f"{section}.{one}" for section, config in sections.items() for one in config.model_fields)]
    names = {one.partition(".")[2] for one in known}
    close = [key] if key in names else get_close_matches(key, sorted(names), n=1)
    if found := [one for one in known if one.partition(".")[2] in close]:
        return f"; did you mean {' or '.join(map(repr, found))}?"
    return "; write SECTION.KEY (crossfield fit --keys lists them)"


def set_dotted(values: dict[str, Any], key: str, value: Any) -> None:
    """Set ``section.key`` in nested plain values; a value of None takes the key out."""
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{key!r} goes through {part!r}, which is a value, not a section")
    if value is None:
        values.pop(last, None)
    else:
        values[last] = value


def _plain(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude_none=True)
