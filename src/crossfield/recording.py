"""Training steps recorded once as a CUDA graph and launched whole from then on."""

from collections.abc import Callable

import torch
from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.embedding import EmbeddingArena
from crossfield.models.base import Model
from crossfield.optim import Optimizers

Step = Callable[[Batch], Tensor]
"""Trains on one batch and gives its mean loss."""

_WARM_UP = 3
"""Steps in fixed shapes before the recording: libraries choose their kernels meanwhile."""


class RecordedStep:
    """A step for batches of one size: the same kernels in the same order, without the time Python takes to launch them.

    The first calls run as they are, then one call records; all of them train. A step that cannot be recorded runs as
    it is for ever, and ``reason`` says why. Batches of another size run as they are. ``warm`` and ``record`` are what
    CUDA does.
    """

    def __init__(
        self,
        step: Step,
        model: Model,
        optimizers: Optimizers,
        *,
        batch_size: int,
        warm: Callable[[Step, Batch], Tensor] | None = None,
        record: Callable[[Step, Batch], Step] | None = None,
    ) -> None:
        self._step, self._optimizers, self._batch_size = step, optimizers, batch_size
        self._warm, self._record = warm or aside, record or CudaGraph
        self._arenas = [module for module in model.modules() if isinstance(module, EmbeddingArena)]
        self._calls = 0
        self._rates = optimizers.rates
        self._recorded: Step | None = None
        self.reason = _why_not(model, optimizers)

    @property
    def is_recorded(self) -> bool:
        """Whether steps are launched whole by now."""
        return self._recorded is not None

    def __call__(self, batch: Batch) -> Tensor:
        """Train on one batch; its mean loss."""
        if self.reason or batch.size != self._batch_size:
            return self._step(batch)
        self._calls += 1
        if self._calls == 1:
            return self._first(batch)
        if self._calls <= 1 + _WARM_UP:
            return self._warm(self._step, batch)
        return self._recording(batch)(batch)

    def _first(self, batch: Batch) -> Tensor:
        """In exact shapes; shapes are fixed from then on where each table was looked up once."""
        before = [arena.lookups for arena in self._arenas]
        loss = self._step(batch)
        if any(arena.lookups - count > 1 for arena, count in zip(self._arenas, before, strict=True)):
            self._give_up("a table is looked up twice in a step")
        else:
            self._pad(True)
        return loss

    def _recording(self, batch: Batch) -> Step:
        """What was recorded, anew where a learning rate has changed: it is part of the recording."""
        if self._recorded is None or self._rates != self._optimizers.rates:
            self._rates = self._optimizers.rates
            self._optimizers.zero_grad()  # gradients are to lie in the recording's own memory
            try:
                self._recorded = self._record(self._step, batch)
            except RuntimeError as error:
                self._give_up(str(error).splitlines()[0])
                return self._step
        return self._recorded

    def _give_up(self, reason: str) -> None:
        self._recorded, self.reason = None, reason
        self._pad(False)

    def _pad(self, wanted: bool) -> None:
        for arena in self._arenas:
            arena.pad(wanted)


def _why_not(model: Model, optimizers: Optimizers) -> str:
    """Why steps of this kind cannot be recorded; empty where they can."""
    if model.schema.sequences:
        return "multi-valued fields give every batch another shape"
    return "" if optimizers.writes_rows_back else "these optimisers count a row as often as it is named"


def aside(step: Step, batch: Batch) -> Tensor:
    """Run a step on a CUDA stream of its own, as recording will."""
    main, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
    side.wait_stream(main)
    with torch.cuda.stream(side):
        loss = step(batch)
    main.wait_stream(side)
    return loss


class CudaGraph:
    """A step as a CUDA graph: recorded, not run, when it is made; run for the values of a batch at each call."""

    def __init__(self, step: Step, batch: Batch) -> None:
        self._given, self._graph = batch.copy(), torch.cuda.CUDAGraph()
        # Other threads may read ahead meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._loss = step(self._given)

    def __call__(self, batch: Batch) -> Tensor:
        """Train on the values of a batch; its mean loss."""
        self._given.fill(batch)
        self._graph.replay()
        return self._loss.clone()
