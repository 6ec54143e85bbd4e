"""One forward pass written down: which module or layer function did what to which tensor, and the arithmetic of it."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from crossfield.batch import Batch, Jagged
from crossfield.layers.embedding import EmbeddingArena
from crossfield.layers.linear import Linear, Prediction
from crossfield.layers.norm import BatchNorm, LayerNorm
from crossfield.models.base import Model
from crossfield.schema import ModelSchema

NUM_ROWS = 97
"""Rows of a traced batch: a prime, so that a dimension which is a multiple of it is the batch's."""
MOVES = {
    *("view", "_unsafe_view", "reshape", "_reshape_alias", "alias", "expand", "permute", "transpose", "t", "detach"),
    *("unsqueeze", "squeeze", "select", "slice", "split", "split_with_sizes", "unbind", "unfold", "clone", "copy"),
    *("_to_copy", "cat", "stack", "index_select", "index", "gather", "embedding", "lift_fresh", "repeat_interleave"),
    *("constant_pad_nd", "new_zeros", "new_ones", "new_empty", "zeros", "ones", "empty", "full", "arange", "fill"),
    *("zeros_like", "ones_like", "empty_like", "empty_strided"),
}
"""Operations that only move or make numbers."""
_MAPS = (nn.Linear, Linear, Prediction)
_WITH_NUMBER = {"add", "sub", "rsub", "mul", "div"}
_LAYERS = "crossfield.layers."


@dataclass(eq=False, repr=False)
class Call:
    """One call of a module, or of a plain function of the layers, inside a forward pass.

    name: of the module as its parent's attribute, or of the function.
    """

    name: str
    what: nn.Module | Callable[..., Any]
    parent: "Call | None" = None
    ops: list["Op"] = field(default_factory=list)
    children: list["Call"] = field(default_factory=list)
    is_open: bool = False
    like: str = ""
    """The earlier sibling that is built the same, where this one is closed for that reason."""

    @property
    def path(self) -> tuple["Call", ...]:
        """What it was called in, the model first, and itself."""
        return (*self.parent.path, self) if self.parent else (self,)

    @cached_property
    def every_op(self) -> list["Op"]:
        """All operations inside, in order."""
        inside = [op for child in self.children for op in child.every_op]
        return sorted([*self.ops, *inside], key=lambda op: op.number)

    @cached_property
    def given(self) -> list[Tensor]:
        """Tensors used inside that were not made there, parameters included."""
        made = {id(tensor) for op in self.every_op for tensor in op.outputs}
        used = {id(tensor): tensor for op in self.every_op for tensor in op.inputs}
        return [tensor for key, tensor in used.items() if key not in made]

    @property
    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters that belong to the module itself and not to one inside it."""
        return list(self.what.parameters(recurse=False)) if isinstance(self.what, nn.Module) else []

    @property
    def is_silent(self) -> bool:
        """Whether a module did nothing worth a box: an identity, a change of shape, dropout in evaluation."""
        if not isinstance(self.what, nn.Module) or self.parent is None:
            return False
        return all(op.is_move for op in self.every_op) and not list(self.what.parameters())

    @property
    def is_brick(self) -> bool:
        """Whether it stays closed in every picture: a function, a chain of maps, tables, or weights of its own."""
        if not isinstance(self.what, nn.Module) or self.widths is not None or self.own_parameters:
            return True
        modules = list(self.what.modules())
        return any(isinstance(one, EmbeddingArena) for one in modules) and not any(
            isinstance(one, nn.Linear) for one in modules
        )

    @property
    def widths(self) -> list[int] | None:
        """Input and output widths along a plain chain of linear maps and activations, None for anything else."""
        if type(self.what) in _MAPS:
            return [cast(nn.Linear, self.what).in_features, cast(nn.Linear, self.what).out_features]
        if not isinstance(self.what, nn.Sequential):
            return None
        found: list[int] = []
        for child in self.children:
            if not (child.is_silent or child.widths or is_activation(child.what)):
                return None
            found += (child.widths or [])[1 if found else 0 :]
        return found or None

    @property
    def build(self) -> tuple[Any, ...]:
        """What it is built of, to tell calls that are built the same."""
        return (type(self.what), *(child.build for child in self.children))


def is_activation(what: Any) -> bool:
    """Whether a module works number by number, as between the maps of an MLP."""
    return type(what) in (BatchNorm, LayerNorm) or type(what).__module__.startswith("torch.nn")


@dataclass(eq=False, repr=False)
class Op:
    """One operation on tensors.

    scalar: the number that a tensor was added to, multiplied with and so on. flops: of the whole batch.
    matrix_flops: those of them in products of matrices, two for each multiply-add.
    """

    number: int
    name: str
    call: Call
    inputs: list[Tensor]
    outputs: list[Tensor]
    scalar: float | None
    flops: int
    matrix_flops: int

    @property
    def is_move(self) -> bool:
        """Whether nothing was computed."""
        return self.name in MOVES or (self.name == "mul" and self.scalar == 1)


@dataclass(frozen=True, repr=False)
class Trace:
    """A forward pass: the model's own call and its logits.

    makers: id of a tensor -> the operation that made it. input_names and parameter_names: id of a tensor -> name.
    parameters: of each call, those of an earlier one left out. flops and matrix_flops: of one more example, by number
    of the operation.
    """

    root: Call
    logits: Tensor
    makers: Mapping[int, Op]
    input_names: Mapping[int, str]
    parameter_names: Mapping[int, str]
    flops: Mapping[int, int]
    matrix_flops: Mapping[int, int]
    parameters: Mapping[Call, int]


def trace_model(model: Model) -> Trace:
    """Run a model in evaluation mode on a batch of its schema and write down what happened."""
    batch = plain_batch(model.schema, NUM_ROWS)
    once, logits = _run(model, batch)
    twice, _ = _run(model, plain_batch(model.schema, 2 * NUM_ROWS))
    pairs = list(zip(once.root.every_op, twice.root.every_op, strict=True))
    return Trace(
        once.root,
        logits,
        once.makers,
        _input_names(batch),
        {id(one): name.split(".")[-1] for name, one in [*model.named_parameters(), *model.named_buffers()]},
        # What one more example costs: work that is done once a batch (gates without a context) is not in it.
        {one.number: 0 if one.is_move else (two.flops - one.flops) // NUM_ROWS for one, two in pairs},
        {one.number: (two.matrix_flops - one.matrix_flops) // NUM_ROWS for one, two in pairs},
        _parameters(once.root),
    )


def _run(model: Model, batch: Batch) -> tuple["_Recorder", Tensor]:
    recorder = _Recorder(model)
    with _evaluating(model), _hooked(model, recorder), torch.no_grad(), recorder:
        logits = model(batch)
    recorder.kept.append(batch.categorical)
    return recorder, logits


def _input_names(batch: Batch) -> dict[int, str]:
    named = {"dense": batch.dense, "ids": batch.categorical}
    for name, one in batch.sequences.items():
        named |= {name: one.values, f"lengths of {name}": one.offsets}
    return {id(one): name for name, one in named.items() if one.numel()}


def _parameters(root: Call) -> dict[Call, int]:
    """Numbers of parameters by call; one that is used again counts where it was used first."""
    met: set[int] = set()
    found: dict[Call, int] = {}

    def count_in(call: Call) -> None:
        mine = {id(one): one.numel() for one in call.what.parameters()} if isinstance(call.what, nn.Module) else {}
        found[call] = sum(size for key, size in mine.items() if key not in met)
        for child in call.children:
            count_in(child)
        met.update(mine)

    count_in(root)
    return found


def plain_batch(schema: ModelSchema, num_rows: int) -> Batch:
    """A batch of a schema whose ids and values are all alike: two ids in every list."""
    lists = {
        one.name: Jagged(torch.ones(2 * num_rows, dtype=torch.int64), 2 * torch.arange(num_rows + 1))
        for one in schema.sequences
    }
    ids = torch.ones(num_rows, len(schema.categorical), dtype=torch.int64)
    return Batch(torch.ones(num_rows, len(schema.dense)), ids, lists)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not type it
    """Writes every operation down in the call it belongs to."""

    def __init__(self, model: Model) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch does not type it
        self.root = Call("", model)
        self.stack = [self.root]
        self.makers: dict[int, Op] = {}
        self.numbers = count()
        self.functions: dict[FrameType, Call] = {}
        self.kept: list[Tensor] = []  # or a freed tensor's id would name another one

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [one for one in _flat(args) if isinstance(one, Tensor)]
        made = [one for one in _flat([result]) if isinstance(one, Tensor)]
        scalars = [float(one) for one in args if isinstance(one, int | float) and not isinstance(one, bool)]
        name = func.overloadpacket.__name__.removesuffix("_")
        call = self._call()
        matrix_flops = _matrix_flops(name, given, made)
        op = Op(
            next(self.numbers),
            name,
            call,
            given,
            made,
            scalars[0] if scalars and len(given) == 1 and name in _WITH_NUMBER else None,
            matrix_flops or _plain_flops(name, given, made),
            matrix_flops,
        )
        call.ops.append(op)
        self.kept += [*given, *made]
        self.makers |= {id(one): op for one in made}
        return result

    def _call(self) -> Call:
        """The module running now, or the plain function of the layers that it has called."""
        found: FrameType | None = None
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_code is not nn.Module._call_impl.__code__:
            is_function = "." not in frame.f_code.co_qualname and not frame.f_code.co_name.startswith("_")
            if is_function and frame.f_globals["__name__"].startswith(_LAYERS):
                found = frame
            frame = frame.f_back
        if found is None:
            return self.stack[-1]
        if found not in self.functions:
            name = found.f_code.co_name
            self.functions[found] = self._enter(name, found.f_globals[name])
        return self.functions[found]

    def _enter(self, name: str, what: nn.Module | Callable[..., Any]) -> Call:
        parent = self.stack[-1]
        call = Call(name, what, parent)
        parent.children.append(call)
        return call

    def enter_module(self, name: str, module: nn.Module) -> None:
        """A module begins."""
        self.stack.append(self._enter(name, module))

    def leave_module(self) -> None:
        """The module ends."""
        self.stack.pop()


@contextmanager
def _hooked(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    with ExitStack() as hooks:
        names = {module: name for name, module in model.named_modules()}
        for module, name in names.items():
            if module is model:
                continue

            def before(called: nn.Module, args: Any, name: str = name) -> None:
                within = names[recorder.stack[-1].what] if isinstance(recorder.stack[-1].what, nn.Module) else ""
                recorder.enter_module(name.removeprefix(within).removeprefix("."), called)

            def after(called: nn.Module, args: Any, result: Any) -> None:
                recorder.leave_module()

            hooks.callback(module.register_forward_pre_hook(before).remove)
            hooks.callback(module.register_forward_hook(after).remove)
        yield


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for one in values:
        if isinstance(one, list | tuple):
            yield from _flat(one)
        else:
            yield one


def _matrix_flops(name: str, given: Sequence[Tensor], made: Sequence[Tensor]) -> int:
    """Two per multiply-add of a product of matrices or a convolution, 0 for anything else."""
    if name in ("addmm", "baddbmm", "addmv"):
        given = given[1:]
    if name in ("mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot"):
        columns = given[1].shape[-1] if given[1].dim() > 1 else 1
        return 2 * given[0].numel() * columns
    if name == "convolution":
        return 2 * made[0].numel() * math.prod(given[1].shape[1:])
    return 0


def _plain_flops(name: str, given: Sequence[Tensor], made: Sequence[Tensor]) -> int:
    """One per number that an operation reads or gives, whichever are more; nothing for moving numbers or for ids."""
    if name in MOVES or not any(one.is_floating_point() for one in made):
        return 0
    return max(one.numel() for one in (*given, *made))
