"""What a run says about itself while it trains: reports, speed, losses, and the records kept of them."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from crossfield.batch import Batch
from crossfield.errors import MissingExtraError, RunError
from crossfield.files import append_line, read_lines, typed, write_bytes
from crossfield.mapped import in_order

ReportKind = Literal["start", "progress", "evaluation", "end"]

_PENDING = 64
"""Steps between two looks at the losses: a look waits for the device."""
_ROWS = 1 << 18
"""Of a table, looked at together."""


@dataclass(frozen=True)
class Report:
    """One message of a run: at its start, about once a second, after each evaluation, at its end."""

    kind: ReportKind
    step: int
    epoch: int
    """Counted from 0."""
    fraction: float
    """Share of all steps that are done."""
    seconds: float
    """Spent so far, interrupted sessions included."""
    rows_per_second: float
    """Examples trained per second, drawn negatives included, evaluation and checkpoints apart."""
    eta_seconds: float
    """Seconds to the last epoch's end; early stopping may come first."""
    train_loss: float
    """Mean over the rows since the last evaluation; NaN before the first step."""
    lr: float
    metrics: dict[str, float] | None = None
    note: str = ""
    """What the user should know: precision, compilation, resumption, why the run stopped."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers that are not finite become null."""
        values: dict[str, Any] = plain(asdict(self))
        return values


@dataclass(frozen=True)
class TrainResult:
    """What training came to; the model holds the best weights."""

    history: list[dict[str, Any]]
    """One record per evaluation: step, epoch, train_loss, lr, and the metrics by their names."""
    best_epoch: int | None
    """Counted from 0; None without validation."""
    best_metrics: dict[str, float] | None
    seconds: float
    rows_per_second: float
    notes: tuple[str, ...]


def plain(value: Any) -> Any:
    """The same value with None for every number that is not finite, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class _Pending:
    step: int
    loss: Tensor
    size: int
    rows: Tensor | None


@dataclass
class Meter:
    """Losses and speed of training, collected without waiting for the device at every step."""

    rows: int = 0
    """Examples trained so far."""
    busy_seconds: float = 0.0
    """Spent on them."""
    loss_sum: float = 0.0
    loss_rows: int = 0
    _pending: list[_Pending] = field(default_factory=list)

    def add(self, step: int, loss: Tensor, batch: Batch, *, size: int) -> None:
        """Take the mean loss of one step over ``size`` rows; every 64th call looks at them as ``flush`` does.

        The batch is what this process has of these rows.
        """
        self._pending.append(_Pending(step, loss.detach(), size, batch.rows))
        self.rows += size
        if len(self._pending) >= _PENDING:
            self.flush()

    def flush(self) -> None:
        """Look at the losses collected since the last look.

        Raises RunError naming the first step whose loss is not finite, and rows of its batch.
        """
        if not self._pending:
            return
        losses = torch.stack([one.loss for one in self._pending]).tolist()
        pending, self._pending = self._pending, []
        for one, loss in zip(pending, losses, strict=True):
            if not math.isfinite(loss):
                raise RunError(_explain(one, loss))
            # One by one, so that the sum does not depend on when the looks happen: a resumed run reports the same.
            self.loss_sum += loss * one.size
            self.loss_rows += one.size

    @property
    def train_loss(self) -> float:
        """Mean over the rows since ``restart``; NaN without any."""
        return self.loss_sum / self.loss_rows if self.loss_rows else math.nan

    @property
    def rows_per_second(self) -> float:
        """Examples per second of training."""
        return self.rows / self.busy_seconds if self.busy_seconds else 0.0

    def restart(self) -> None:
        """Begin a new mean of the losses."""
        self.loss_sum, self.loss_rows = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """The sums, once all losses were looked at."""
        names = ("rows", "busy_seconds", "loss_sum", "loss_rows")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        for name in self.state_dict():
            setattr(self, name, typed(type(getattr(self, name)), state[name]))


def _explain(one: _Pending, loss: float) -> str:
    rows = [] if one.rows is None else sorted(set(one.rows.tolist()))
    named = f"rows {', '.join(map(str, rows[:5]))} … {rows[-1]} ({len(rows)} of them)" if rows else "unnumbered rows"
    return (
        f"the loss is {loss} at step {one.step}, whose batch held the source {named}; look there for extreme values, "
        "or set a lower train.lr or a train.clip_norm; checkpoints from before this step are kept"
    )


def check_finite(weights: Iterable[tuple[str, Tensor]], step: int) -> None:
    """Raise RunError naming the first of a model's weights that are not finite."""
    named = list(weights)
    with in_order(weight for _, weight in named):
        for name, weight in named:
            if not _is_finite(weight):
                raise RunError(
                    f"after step {step} the weights {name} are not finite, though the losses before were; "
                    "set a lower train.lr or a train.clip_norm; checkpoints from before are kept"
                )


def _is_finite(weight: Tensor) -> bool:
    # By parts: to look at a large table as a whole takes a quarter of its memory more.
    is_large = weight.dim() > 0 and len(weight) > _ROWS
    parts = torch.split(weight, _ROWS) if is_large else [weight]
    return all(bool(torch.isfinite(part).all()) for part in parts)


class Stopwatch:
    """Seconds since it was started."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin again at 0."""
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._started


class _SummaryWriter(Protocol):
    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def close(self) -> None: ...


class RunLog:
    """Keeps every report of a run as a checksummed line of ``log.jsonl`` and, where asked, for TensorBoard.

    Raises MissingExtraError where TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path | None, *, tensorboard: bool = False) -> None:
        self._path = folder / "log.jsonl" if folder is not None else None
        self._writer = _open_tensorboard(folder / "tensorboard") if folder is not None and tensorboard else None
        self.num_lines = 0

    def rewind(self, num_lines: int) -> None:
        """Forget all lines but the first so many: those that a resumed run will write again."""
        self.num_lines = num_lines
        if self._path is not None and self._path.is_file():
            lines = self._path.read_text().splitlines(keepends=True)[:num_lines]
            write_bytes(self._path, "".join(lines).encode())
            self.num_lines = len(read_lines(self._path))

    def write(self, report: Report) -> None:
        """Keep one report."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self._path, report.to_json())
            self.num_lines += 1
        if self._writer is not None and report.kind in ("progress", "evaluation"):
            self._scalars(self._writer, report)

    def _scalars(self, writer: _SummaryWriter, report: Report) -> None:
        values = {"loss": report.train_loss, "lr": report.lr, "rows_per_second": report.rows_per_second}
        for name, value in values.items():
            writer.add_scalar(f"train/{name}", value, report.step)
        for name, value in (report.metrics or {}).items():
            writer.add_scalar(f"valid/{name}", value, report.step)

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        if self._writer is not None:
            self._writer.close()


def _open_tensorboard(folder: Path) -> _SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("tensorboard", "tensorboard") from None
    writer: _SummaryWriter = SummaryWriter(str(folder))
    return writer
