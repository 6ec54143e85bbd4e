"""When a run ends: the plateau a metric reaches, and signals that wait until a step is whole."""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn, Self

from crossfield.errors import ConfigError, DataError, nearest
from crossfield.files import typed

_FALLING = frozenset({"log_loss", "normalized_entropy", "ne", "expected_calibration_error", "ece"})


@dataclass
class Plateau:
    """Watches one metric over the evaluations: which was best, and how many since then were not better."""

    monitor: str | None
    """Metric to watch, None for the first one measured; log loss, NE and calibration errors should fall, all others
    rise."""
    patience: int
    """Evaluations in a row without an improvement after which the run should stop."""
    min_delta: float
    """What counts as an improvement."""
    best: float | None = None
    failures: int = 0

    def update(self, metrics: Mapping[str, float]) -> bool:
        """Take one evaluation; whether it is the best so far.

        Raises ConfigError where the metric is not among them, DataError where it is not a finite number.
        """
        name = self.monitor or next(iter(metrics), "")
        if name not in metrics:
            raise ConfigError(f"train.monitor = {name!r} is not measured{nearest(name, metrics)}")
        value = metrics[name]
        if not math.isfinite(value):
            raise DataError(
                f"{name} of the validation rows is {value}, so training cannot be judged by it; "
                "give validation rows with both labels, or set train.monitor to another metric"
            )
        improved = self.best is None or _gain(name, value, self.best) > self.min_delta
        self.best, self.failures = (value, 0) if improved else (self.best, self.failures + 1)
        return improved

    @property
    def is_reached(self) -> bool:
        """Whether the run should stop."""
        return self.failures >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Where the watch stands."""
        return {"best": self.best, "failures": self.failures}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another one stood."""
        self.best, self.failures = typed(float | None, state["best"]), typed(int, state["failures"])


def _gain(name: str, value: float, best: float) -> float:
    return best - value if name in _FALLING else value - best


class Interrupts:
    """Lets Ctrl-C and SIGTERM wait while a step is under way, so that nobody ever sees half of one.

    Signals keep the handlers they have; outside ``whole`` they act at once. In threads other than the main one,
    which no signal reaches, nothing changes.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._is_held = False
        self._waiting: int | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._is_held:
            self._waiting = number
        else:
            self._handlers[number](number, frame)

    @property
    def is_waiting(self) -> bool:
        """Whether a signal has come that has not acted yet."""
        return self._waiting is not None

    def act(self) -> NoReturn:
        """Stop as a signal does, also where it has reached another process only."""
        if self._waiting is not None:
            self._handlers[self._waiting](self._waiting, None)
        raise KeyboardInterrupt

    @contextmanager
    def whole(self) -> Iterator[None]:
        """A block no signal cuts in two; one that came meanwhile acts right after the outermost."""
        was_held, self._is_held = self._is_held, True
        try:
            yield
        finally:
            self._is_held = was_held
            waiting = self._waiting
            self._waiting = waiting if was_held else None
        # Only after a whole step: where the block failed, its own error counts.
        if waiting is not None and not was_held:
            self._handlers[waiting](waiting, None)
