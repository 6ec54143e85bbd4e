"""Where numbers stopped being finite: a step is done once more, slowly, and names layer, parameters, rows, columns."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.checkpoint import write_state
from crossfield.errors import NotFiniteError
from crossfield.models.base import Model
from crossfield.progress import plain

INCIDENT = "incident"
"""Folder beside a run's checkpoints with the batch at fault, and its kind."""
EXTREME = 1e4
"""Inputs beyond this are named; standardised ones are rarely beyond 10."""
NAMED = 5
"""Rows, columns and parameters that are named at most."""


@dataclass(frozen=True)
class Incident:
    """A training step whose numbers are not finite."""

    step: int
    loss: float
    layer: str | None
    """The first layer whose output is not finite or, where all are, whose output's gradient is not."""
    parameters: tuple[str, ...]
    """Those whose gradients are not finite, or whose values were not before."""
    rows: tuple[int, ...]
    """Rows of the batch whose logits are not finite, else those with extreme inputs: their numbers among the training
    rows, which count by themselves where they were split off."""
    columns: tuple[str, ...]
    """Dense features with inputs that are not finite or extreme, and the worst of them."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; a loss that is not finite becomes its text."""
        return {**plain(asdict(self)), "loss": str(self.loss)}

    def error(self) -> NotFiniteError:
        """The error that says all of it."""
        return NotFiniteError(f"{self}; {_ADVICE}", self.to_json())

    def __str__(self) -> str:
        found = [f"step {self.step}: the numbers are not finite (loss {self.loss:.4g})"]
        found += [f"first in {self.layer}"] if self.layer else []
        found += [f"parameters {_some(self.parameters)}"] if self.parameters else []
        found += [f"training rows {_some([str(row) for row in self.rows])} (counted from 0)"] if self.rows else []
        found += [f"inputs {_some(self.columns)}"] if self.columns else []
        return "; ".join(found)


_ADVICE = (
    "look at these rows, or set a lower train.lr or a train.clip_norm; this step changed no weight, and "
    "the last checkpoint is kept"
)


def _some(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def investigate(model: Model, step: Callable[[Batch], Tensor], batch: Batch, *, number: int) -> Incident:
    """Do a step (forward and backward, no update) again under watch. It leaves gradients behind."""
    layers: list[str] = []
    backwards: list[str] = []
    broken = [name for name, weight in model.named_parameters() if not _is_finite(weight)]
    logits: list[Tensor] = []
    hooks = [
        module.register_forward_hook(partial(_watch, name or type(model).__name__, layers, backwards))
        for name, module in model.named_modules()
    ]
    hooks.append(model.register_forward_hook(lambda module, given, output: logits.append(_first(output).detach())))
    try:
        loss = float(step(batch))
    finally:
        for hook in hooks:
            hook.remove()
    gradients = [name for name, weight in model.named_parameters() if not _is_finite(weight.grad)]
    layer = f"the output of {layers[0]}" if layers else f"the gradient of {backwards[0]}" if backwards else None
    columns, extreme = _inputs(model, batch)
    rows = _rows(batch, ~torch.isfinite(logits[0]).all(1) if logits else torch.zeros(batch.size, dtype=torch.bool))
    return Incident(number, loss, layer, tuple(broken or gradients), rows or _rows(batch, extreme), columns)


def save_incident(folder: Path, batch: Batch, incident: Incident) -> None:
    """Keep the batch at fault and what was found, sealed; one that was there is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lists = {name: {"values": one.values, "offsets": one.offsets} for name, one in batch.sequences.items()}
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
    write_state(folder, {"batch": tensors, "sequences": lists, "incident": incident.to_json()}, kind=INCIDENT)


def _watch(
    name: str, layers: list[str], backwards: list[str], module: nn.Module, given: object, output: object
) -> None:
    label = f"{name} ({type(module).__name__})"
    for one in output if isinstance(output, tuple | list) else (output,):
        if isinstance(one, Tensor) and one.is_floating_point():
            if not _is_finite(one):
                layers.append(label)
            elif one.requires_grad:
                one.register_hook(partial(_watch_gradient, label, backwards))  # type: ignore[no-untyped-call]  # torch's own


def _watch_gradient(label: str, backwards: list[str], gradient: Tensor) -> None:
    if not _is_finite(gradient):
        backwards.append(label)


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple | list) else output
    return found


def _is_finite(value: Tensor | None) -> bool:
    if value is None:
        return True
    value = value._values() if value.is_sparse else value
    return bool(torch.isfinite(value).all())


def _inputs(model: Model, batch: Batch) -> tuple[tuple[str, ...], Tensor]:
    """Dense features with inputs that are not finite or extreme, worst first, and the rows [B] that hold them."""
    sizes = batch.dense.abs().nan_to_num(torch.inf, torch.inf)
    worst = sizes.amax(0) if batch.size else sizes.sum(0)
    order = [int(index) for index in worst.argsort(descending=True) if worst[index] > EXTREME]
    names = [f"{model.schema.dense[index]} = {_worst(batch.dense[:, index], sizes[:, index]):.4g}" for index in order]
    return tuple(names), (sizes > EXTREME).any(1)


def _worst(values: Tensor, sizes: Tensor) -> float:
    return float(values[sizes.argmax()])


def _rows(batch: Batch, chosen: Tensor) -> tuple[int, ...]:
    numbers = torch.arange(batch.size) if batch.rows is None else batch.rows.cpu()
    return tuple(sorted(set(numbers[chosen.cpu()].tolist())))
