"""One class per kind of user mistake; each message says what was wrong, the value, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class CrossfieldError(Exception):
    """Base of every error a user can cause; the command line prints it in one line and exits with 1."""


class DataError(CrossfieldError):
    """A file is missing, empty or unreadable, or a value in it cannot be used."""


class RowError(DataError):
    """A value in a row cannot be used; ``row`` counts within the rows at hand, until their source is known."""

    def __init__(self, before: str, row: int, after: str) -> None:
        super().__init__(before, row, after)
        self.row = row

    def __str__(self) -> str:
        return self.of_row(self.row)

    def of_row(self, row: int) -> str:
        """The message with another number for the row."""
        before, _, after = self.args
        return f"{before} row {row} (counted from 0){after}"


class SchemaError(CrossfieldError):
    """A column or role is missing, or has another kind than the schema says."""


class ConfigError(CrossfieldError):
    """A recipe, flag or argument names something that does not exist or holds an impossible value."""


class CorruptError(CrossfieldError):
    """A file Crossfield wrote is truncated, changed, or belongs to something else."""


class RunError(CrossfieldError):
    """A run directory is in use, already there, or not a run."""


class InUseError(RunError):
    """Another process holds the run directory."""


class MissingExtraError(CrossfieldError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'crossfield[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known name, or lists what there is.

    Returns text to append to an error message, starting with "; ".
    """
    names = list(known)
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names) or 'none'}"


class NotFiniteError(RunError):
    """Numbers of a training step are not finite; ``incident`` says where, as plain values."""

    def __init__(self, message: str, incident: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.incident = incident or {}
