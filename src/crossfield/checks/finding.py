"""A finding: one thing that is wrong, or worth knowing, with its number and what to do about it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first: makes the numbers worthless or stops a run; most likely a mistake; worth knowing."""


@dataclass(frozen=True)
class Finding:
    """One finding in plain words."""

    severity: Severity
    where: str
    """The column, the part of the rows, or "environment"."""
    what: str
    value: float | int | str | None
    """The number it rests on."""
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.advice}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """In the order of severity, else as they came."""
    return sorted(findings, key=lambda one: SEVERITIES.index(one.severity))
