"""Optimisers that touch only the rows of the batch, and the step around them: L2, one global norm clip, updates."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.adam import adam

from crossfield.config import Config
from crossfield.files import typed
from crossfield.late import BETA1, BETA2, EXACT_AFTER, idle_adam
from crossfield.layers.embedding import DenseEmbedding, EmbeddingArena, is_padded
from crossfield.mapped import fetch, zeros_beside

StateFormat = Literal["fp32", "bf16"]


class OptimConfig(Config):
    """How the weights follow their gradients."""

    optimizer: Literal["lazy_adam", "rowwise_adagrad", "adam", "adagrad", "sgd"] = "lazy_adam"
    """What the embeddings learn by: lazy_adam and rowwise_adagrad change only the rows of the batch and leave the
    dense part to Adam; adam is Adam over whole tables, as the published CTR tables have it (on one CPU and without
    embedding_l2, rows of large tables wait until they are read); adagrad and sgd serve both parts (rows of the batch
    only)."""
    lr: float = Field(1e-3, gt=0)
    """Learning rate."""
    embedding_lr: float | None = Field(None, gt=0)
    """Learning rate of the embeddings, where it is another; row-wise Adagrad wants about 0.01 to 0.1."""
    embedding_l2: float = Field(0.0, ge=0)
    """λ of λ/2 ‖W‖² over the embeddings. With optimizer=adam W is the whole table at every step (the published
    CTR tables); the row-sparse optimisers count only the rows of the batch, which is far weaker at equal λ."""
    net_l2: float = Field(0.0, ge=0)
    """λ of λ/2 ‖W‖² over all other weights, biases and normalisation included."""
    table_state: StateFormat = "fp32"
    """What the row-sparse optimisers remember of each weight of a table: bf16 takes half the memory and rounds at
    random. Row-wise Adagrad keeps one number per row, always fp32; adam is whole in fp32."""
    clip_norm: float | None = Field(None, gt=0)
    """Largest Euclidean norm of all gradients together, dense and sparse, L2 included; the published CTR tables: 10."""
    wide_optimizer: Literal["ftrl", "adagrad", "same"] = "ftrl"
    """What a wide part learns by: FTRL-Proximal or Adagrad, both with L1; same treats it like the rest."""
    wide_lr: float = Field(0.05, gt=0)
    """Learning rate of the wide part (FTRL's α)."""
    wide_l1: float = Field(1e-6, ge=0)
    """L1 of the wide part, in units of the mean loss: with FTRL a weight stays exactly 0 while its gradients add up
    to less than this; with Adagrad it is λ of λ ‖w‖₁, applied by a proximal step to the rows of the batch."""
    wide_l2: float = Field(0.0, ge=0)
    """L2 of the wide part: FTRL's λ₂, or λ of λ/2 ‖w‖² over the rows of the batch with Adagrad."""
    wide_beta: float = Field(1 / 4096, ge=0)
    """FTRL's β. The paper's β = 1 is for gradients summed over examples; ours are means over about 4096 of them."""


def _unwrapped(method: Any) -> Any:
    # PERF: torch keeps these methods out of compiled code, which nobody puts them into, and imports its compiler to do
    # so: 1.2 seconds before the first step.
    return getattr(method, "__wrapped__", method)


_MOVED = "moved"
"""In Adam's state of a weight whose rows are not all as far as the others: the last step of each, [R] int64."""
_WAIT_FROM = "wait_from"
"""The step from which rows may wait again, after one with too many ids for that."""
_STEPS_APART = 100.0
"""Steps until then: where the number of ids goes up and down, all rows would catch up again and again."""
_ROWS_AT_ONCE = 1 << 14
_WORTH_WAITING = 1 << 21
"""Numbers of a table from which on its rows may wait."""
_PER_NUMBER = 16
"""Numbers of a table for each that a lookup reads, from which on they do."""
_PER_ID = 16
"""Numbers whose step takes as long as finding one id's row."""
_CLEAR_EVERY = 100
_NOTHING = {"exp_avg": 1e-28, "exp_avg_sq": 1e-33}
"""Moments of Adam closer to 0 are made 0 once in so many steps: a weight would move by less than it is rounded to, and
√v is as little beside ε.

PERF: without a gradient m is below 1e-38 after 800 steps, and with such numbers a CPU takes 24 times as long for Adam's
step of a weight: GMF with 64 factors, 255 rows a step, 4.1 ms a step. In 100 steps m falls to 3e-33 at most.
"""


_load_groups = _unwrapped(torch.optim.Optimizer.load_state_dict)


class QuickOptimizer(torch.optim.Optimizer):
    """A torch optimiser that starts at once."""

    add_param_group = _unwrapped(torch.optim.Optimizer.add_param_group)
    state_dict = _unwrapped(torch.optim.Optimizer.state_dict)

    def _patch_step_function(self) -> None:
        # PERF: torch wraps every step for its profiler and for hooks, which nothing here uses: 0.05 ms a step, a tenth
        # of one of GMF with 51 positives.
        self._zero_grad_profile_name = type(self).__name__

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave, in its own types: torch would turn all of it into the weights' type."""
        _load_groups(self, {**state_dict, "state": {}})
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for index, state in state_dict["state"].items():
            weight = weights[index]
            self.state[weight] = {name: value.to(weight.device) for name, value in state.items()}


class Adam(QuickOptimizer):
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980) over whole tensors.

    Dense gradients go through torch's fused kernel. Of a sparse one only the rows it names are moved; the others, which
    Adam moves too, follow in ``catch_up``, before they are read or at the latest when all have to be right: the same
    weights as with a dense gradient to the last digits, at the price of the rows of the batch.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr, "betas": (BETA1, BETA2), "eps": 1e-8, "fused": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            whole: list[Tensor] = []
            for weight in group["params"]:
                if weight.grad is not None and weight.grad.is_sparse:
                    self._update_rows(weight, group)
                elif weight.grad is not None:
                    self._settle(weight, group)
                    whole.append(weight)
            if whole:
                self._update_all(whole, group)

    @torch.no_grad()
    def catch_up(self, weight: Tensor, rows: Tensor) -> None:
        """Make the steps that distinct rows [n] int64 of a weight have missed."""
        for group in self.param_groups:
            if _MOVED in self.state.get(weight, ()) and any(weight is one for one in group["params"]):
                self._catch_up(weight, rows, group)

    @torch.no_grad()
    def settle(self) -> None:
        """Make all steps that are missing anywhere: weights and moments are then those of dense gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                self._settle(weight, group)

    def _settle(self, weight: Tensor, group: Mapping[str, Any]) -> None:
        if _MOVED in self.state.get(weight, ()):
            state = self.state[weight]
            late = (state[_MOVED] != int(state["step"])).nonzero().squeeze(1)
            for rows in late.split(_ROWS_AT_ONCE):
                self._catch_up(weight, rows, group)
            del state[_MOVED]

    def _catch_up(self, weight: Tensor, rows: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[weight]
        now, last = int(state["step"]), state[_MOVED].index_select(0, rows)
        if bool((last != now).any()):
            mean, square = _take(state["exp_avg"], rows), _take(state["exp_avg_sq"], rows)
            moved = idle_adam().move(mean, square, eps=group["eps"], last=last, now=now)
            _add(weight, rows, moved.mul_(-group["lr"]))
            _put(state["exp_avg"], rows, mean)
            _put(state["exp_avg_sq"], rows, square)
            state[_MOVED].index_fill_(0, rows, now)

    def _update_rows(self, weight: Tensor, group: Mapping[str, Any]) -> None:
        rows, gradient = rows_of(weight)
        assert rows is not None  # the gradient is sparse
        state = self._state_of(weight, group["fused"])
        if _MOVED not in state:
            state[_MOVED] = torch.full(weight.shape[:1], int(state["step"]), dtype=torch.int64)
        self._catch_up(weight, rows, group)
        step = int(state["step"].add_(1))
        _move_by_adam(weight, rows, gradient, state=state, group=group, step=step)
        state[_MOVED].index_fill_(0, rows, step)

    def _update_all(self, weights: list[Tensor], group: Mapping[str, Any]) -> None:
        states = [self._state_of(weight, group["fused"]) for weight in weights]
        beta1, beta2 = group["betas"]
        adam(
            weights,
            [weight.grad for weight in weights if weight.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            max_exp_avg_sqs=[],
            state_steps=[state["step"] for state in states],
            foreach=False,
            fused=group["fused"],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
        step = states[0]["step"]
        if step.is_cpu and int(step) % _CLEAR_EVERY == 0:
            for state in states:
                _clear(state)

    def _state_of(self, weight: Tensor, fused: bool) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), device=weight.device if fused else "cpu")
            state |= {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
        return state


def _clear(state: Mapping[str, Tensor]) -> None:
    for name, nothing in _NOTHING.items():
        moment = here(state[name])
        moment.masked_fill_(moment.abs() < nothing, 0.0)


class RowOptimizer(QuickOptimizer):
    """An optimiser whose update works on whole tensors for dense gradients, on the named rows for sparse ones."""

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; rows a sparse gradient does not name stay as they are."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    rows, gradient = rows_of(weight)
                    self._update(weight, gradient, rows, group)

    def _update(self, weight: Tensor, gradient: Tensor, rows: Tensor | None, group: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _zeros(self, weight: Tensor, group: Mapping[str, Any], *names: str) -> dict[str, Any]:
        """The state of a parameter, made of zeros at its first step."""
        state: dict[str, Any] = self.state[weight]
        if not state:
            dtype = torch.bfloat16 if group["state_format"] == "bf16" else weight.dtype
            state.update({name: zeros_beside(weight, weight.shape, dtype) for name in names})
        return state


class LazyAdam(RowOptimizer):
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980) that moves and decays only the rows with a gradient.

    The step count is global, one for all rows, as in ``torch.optim.SparseAdam``; ε is added after the bias
    correction, as in ``torch.optim.Adam``: means over large batches make gradients so small that it matters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        state_format: StateFormat = "fp32",
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "state_format": state_format})

    def _update(self, weight: Tensor, gradient: Tensor, rows: Tensor | None, group: Mapping[str, Any]) -> None:
        state = self._zeros(weight, group, "exp_avg", "exp_avg_sq")
        _move_by_adam(weight, rows, gradient, state=state, group=group, step=_next_step(state, weight))


def _move_by_adam(
    weight: Tensor,
    rows: Tensor | None,
    gradient: Tensor,
    *,
    state: Mapping[str, Any],
    group: Mapping[str, Any],
    step: int | Tensor,
) -> None:
    """Adam's update of some rows, or of all, and of their moments."""
    beta1, beta2 = group["betas"]
    mean = _recall(state["exp_avg"], rows, gradient).lerp_(gradient, 1 - beta1)
    square = _recall(state["exp_avg_sq"], rows, gradient)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    _keep(state["exp_avg"], rows, mean, gradient, salt=2 * step)
    _keep(state["exp_avg_sq"], rows, square, gradient, salt=2 * step + 1)
    scale = square.sqrt().mul_((1 - beta2**step) ** -0.5).add_(group["eps"])
    _add(weight, rows, (mean / scale).mul_(-group["lr"] / (1 - beta1**step)))


class RowwiseAdagrad(RowOptimizer):
    """Adagrad with one accumulator per row, the running sum of its mean squared gradient: 1/D of Adagrad's memory.

    As TorchRec and FBGEMM have it: a_r += mean_d g_rd², w_r -= lr g_r / (√a_r + ε).
    """

    def __init__(self, params: Iterable[Any], lr: float = 0.01, *, eps: float = 1e-8) -> None:
        super().__init__(params, {"lr": lr, "eps": eps})

    def _update(self, weight: Tensor, gradient: Tensor, rows: Tensor | None, group: Mapping[str, Any]) -> None:
        state: dict[str, Any] = self.state[weight]
        if not state:
            state["sum"] = zeros_beside(weight, weight.shape[:1], weight.dtype)
        total = _take(state["sum"], rows)
        total += gradient.unsqueeze(-1).flatten(1).square().mean(1)
        _put(state["sum"], rows, total)
        scale = total.sqrt().add_(group["eps"]).reshape(-1, *[1] * (gradient.ndim - 1))
        _add(weight, rows, (gradient / scale).mul_(-group["lr"]))


class Adagrad(RowOptimizer):
    """Adagrad (Duchi et al., 2011), with L1 by a proximal step: w = soft(w - lr g / s, lr λ₁ / s), s = √Σg² + ε."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        *,
        l1: float = 0.0,
        eps: float = 1e-10,
        state_format: StateFormat = "fp32",
    ) -> None:
        super().__init__(params, {"lr": lr, "l1": l1, "eps": eps, "state_format": state_format})

    def _update(self, weight: Tensor, gradient: Tensor, rows: Tensor | None, group: Mapping[str, Any]) -> None:
        state = self._zeros(weight, group, "sum")
        total = _recall(state["sum"], rows, gradient).addcmul_(gradient, gradient)
        _keep(state["sum"], rows, total, gradient)
        rate = group["lr"] / (total.sqrt().add_(group["eps"]))
        moved = _take(weight, rows).sub_(rate * gradient)
        if group["l1"]:
            moved.copy_(_shrink(moved, rate.mul_(group["l1"])))
        _put(weight, rows, moved)


class FTRL(RowOptimizer):
    """FTRL-Proximal (McMahan et al., 2013, "Ad Click Prediction: a View from the Trenches", Algorithm 1).

    Per weight: σ = (√(n + g²) - √n) / α, z += g - σ w, n += g², then w = 0 where |z| <= λ₁, else
    w = -(z - sgn(z) λ₁) / ((β + √n) / α + λ₂).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.05,
        *,
        beta: float = 1.0,
        l1: float = 0.0,
        l2: float = 0.0,
        state_format: StateFormat = "fp32",
    ) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "l1": l1, "l2": l2, "state_format": state_format})

    def _update(self, weight: Tensor, gradient: Tensor, rows: Tensor | None, group: Mapping[str, Any]) -> None:
        state = self._zeros(weight, group, "z", "n")
        alpha, w = group["lr"], _take(weight, rows)
        z, n = _recall(state["z"], rows, gradient), _recall(state["n"], rows, gradient)
        root = n.sqrt()
        z = _of_weight(w, z, (root + group["beta"]).div_(alpha).add_(group["l2"]), group["l1"])
        n.addcmul_(gradient, gradient)
        new_root = n.sqrt()
        z.add_(gradient).sub_((new_root - root).div_(alpha).mul_(w))
        _keep(state["z"], rows, z, gradient)
        _keep(state["n"], rows, n, gradient)
        curvature = new_root.add_(group["beta"]).div_(alpha).add_(group["l2"])
        # Where β = λ₂ = 0, a weight that never had a gradient has no curvature: 0 / 0 must stay 0.
        solved = torch.where(curvature > 0, -_shrink(z, group["l1"]) / curvature, 0.0)
        _put(weight, rows, solved) if rows is not None else weight.copy_(solved)


def _of_weight(w: Tensor, z: Tensor, curvature: Tensor, l1: float) -> Tensor:
    """The z of FTRL that has w for its minimum; where w is 0 the z that is kept, as far as it says so."""
    # A weight may come from elsewhere than z: from a rate before a plateau, a finished run, the row of unseen ids.
    return torch.where(w == 0, z.clamp(-l1, l1), -(w * curvature + w.sign() * l1))


def rows_of(weight: Tensor) -> tuple[Tensor | None, Tensor]:
    """The distinct rows a gradient names and their gradients, to be changed in place; (None, all) where it is dense."""
    gradient = weight.grad
    assert gradient is not None  # callers ask only parameters that have one
    if not gradient.is_sparse:
        return None, gradient
    if not gradient.is_coalesced():
        gradient = weight.grad = _in_order(weight, gradient)
    return gradient._indices()[0], gradient._values()


def here(values: Any) -> Tensor:
    """The values of a tensor that lie on this process: all of them, but for a DTensor."""
    local: Tensor = values.to_local() if hasattr(values, "to_local") else values
    return local


def _in_order(weight: Tensor, gradient: Tensor) -> Tensor:
    # PERF: autograd forgets that an arena's gradient is coalesced; looking whether its rows rise takes 0.1 ms,
    # sorting them again 3.4 (62,000 rows). Padded ones are in order, the last row repeated with the same gradient.
    rows = gradient._indices()
    if not is_padded(weight) and not bool((rows[0, 1:] > rows[0, :-1]).all()):
        return gradient.coalesce()
    return torch.sparse_coo_tensor(rows, gradient._values(), gradient.shape, is_coalesced=True, check_invariants=False)


def _next_step(state: dict[str, Any], weight: Tensor) -> int | Tensor:
    """The number of this step; on a GPU as a tensor there, so that a recorded step counts on."""
    if "steps" not in state:
        state["steps"] = torch.zeros((), device=weight.device)
    steps: Tensor = state["steps"].add_(1)
    return int(steps) if steps.is_cpu else steps


# PERF: with 31,000 rows of 16 a step, advanced indexing takes twice the time of index_select and index_copy_, and
# index_add_ is a loop over rows. All of these may name a row twice where both values are the same (``FoundPadded``).
def _take(table: Tensor, rows: Tensor | None) -> Tensor:
    if rows is None:
        return table
    fetch(table, rows)
    return table.index_select(0, rows)


def _put(table: Tensor, rows: Tensor | None, values: Tensor) -> None:
    if rows is not None:  # else the values are the table itself, changed in place
        table.index_copy_(0, rows, values)


def _add(table: Tensor, rows: Tensor | None, values: Tensor) -> None:
    if rows is None:
        table.add_(values)
    else:
        table.index_copy_(0, rows, table.index_select(0, rows).add_(values))


def _recall(kept: Tensor, rows: Tensor | None, gradient: Tensor) -> Tensor:
    """What was kept of these rows, to be changed in place."""
    values = _take(kept, rows)
    return values if values.dtype == gradient.dtype else values.to(gradient.dtype)


def _keep(kept: Tensor, rows: Tensor | None, values: Tensor, gradient: Tensor, *, salt: int | Tensor = 0) -> None:
    if kept.dtype != values.dtype:
        values = _rounded(values, gradient, salt)
    if rows is None:
        if values is not kept:
            kept.copy_(values)
    else:
        kept.index_copy_(0, rows, values)


def _rounded(values: Tensor, gradient: Tensor, salt: int | Tensor) -> Tensor:
    """Values in bf16, rounded up or down at random, so that on average nothing is lost.

    To the nearest, an average that moves by a thousandth at each step would stay where it is. The dice are the bits
    of the gradient and the salt: no generator whose state a resumed run would need, and the same on every machine.
    """
    bits = gradient.float().view(torch.int32)
    turn = (salt.long() if isinstance(salt, Tensor) else salt) * _GOLDEN % (1 << 31)
    mixed = bits.bitwise_xor(bits >> 15).add_(turn).mul_(_GOLDEN)
    dice = mixed.bitwise_right_shift_(16).bitwise_and_(0xFFFF)
    return values.float().view(torch.int32).add(dice).bitwise_and_(-0x10000).view(torch.float32).bfloat16()


_GOLDEN = -1640531535
"""2^32 over the golden ratio as a signed number: products with it look random in their upper bits."""


def _shrink(values: Tensor, threshold: Tensor | float) -> Tensor:
    """Towards zero by the threshold, exactly zero inside it."""
    return values.sign() * (values.abs() - threshold).clamp_(min=0)


@dataclass(frozen=True)
class Part:
    """Parameters that learn by one optimiser, and the λ whose λ W joins their gradient."""

    optimizer: torch.optim.Optimizer
    l2: float = 0.0

    @property
    def parameters(self) -> Iterator[Tensor]:
        """All parameters of the part."""
        return (weight for group in self.optimizer.param_groups for weight in group["params"])


Norm = Callable[[Sequence[tuple[Tensor, Tensor]]], Tensor]
"""Weights and the values of their gradients in, the Euclidean norm of all these values together out."""


def norm_of(gradients: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The ``Norm`` of gradients that are all here."""
    return torch.nn.utils.get_total_norm([gradient for _, gradient in gradients])


class Optimizers:
    """All optimisers of one model as one: L2 joins the gradients, their global norm is clipped, every part steps."""

    def __init__(self, parts: Mapping[str, Part], *, clip_norm: float | None = None, norm: Norm = norm_of) -> None:
        self.parts, self._clip_norm, self._norm = dict(parts), clip_norm, norm

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts.values():
            for weight in part.parameters:
                weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Use the gradients for one step; they hold L2 and the clip afterwards. Waits for no device."""
        if self._clip_norm is not None or any(part.l2 for part in self.parts.values()):
            gradients = [pair for part in self.parts.values() for pair in _with_l2(part)]
            if self._clip_norm is not None:
                _clip(gradients, self._clip_norm, self._norm(gradients))
        for part in self.parts.values():
            part.optimizer.step()

    @torch.no_grad()
    def has_finite_gradients(self) -> bool:
        """Whether all gradients are finite; on a GPU it waits for them."""
        weights = (weight for part in self.parts.values() for weight in part.parameters if weight.grad is not None)
        norms = torch._foreach_norm([here(rows_of(weight)[1]) for weight in weights])
        return not norms or bool(torch.isfinite(torch.stack(norms)).all())

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates of all parts."""
        return tuple(group["lr"] for part in self.parts.values() for group in part.optimizer.param_groups)

    @property
    def writes_rows_back(self) -> bool:
        """Whether a row that a gradient names twice, both times alike, is one row to every part and to the clip."""
        of_rows = [isinstance(part.optimizer, RowOptimizer | Adam) for part in self.parts.values()]
        return all(of_rows) and (self._clip_norm is None or all(_is_dense(p.optimizer) for p in self.parts.values()))

    @property
    def lr(self) -> float:
        """Learning rate of the first part."""
        first = next(iter(self.parts.values()))
        return float(first.optimizer.param_groups[0]["lr"])

    def scale_lr(self, factor: float, *, least: float = 0.0) -> None:
        """Multiply every learning rate by a factor below 1; none goes under ``least`` (or leaves its place there)."""
        self.settle()  # steps that were missed are made at the rate of their time
        for part in self.parts.values():
            for group in part.optimizer.param_groups:
                group["lr"] = max(group["lr"] * factor, min(group["lr"], least))

    def defer(self, model: nn.Module) -> None:
        """Let rows of large tables wait for what Adam does to them without a gradient, until they are read.

        For a model on a CPU that one process trains. Weights that are read other than by a lookup need ``settle``.
        """
        by_weight = {id(weight): part for part in self.parts.values() for weight in part.parameters}
        for arena in (module for module in model.modules() if isinstance(module, EmbeddingArena)):
            part = by_weight.get(id(arena.weight))
            if part is None or part.l2 or not isinstance(part.optimizer, Adam):
                continue
            if not arena.on_disk and arena.weight.numel() >= _WORTH_WAITING:
                arena.sparse, arena.late = True, _LateRows(part.optimizer, arena.weight)

    def release(self, model: nn.Module) -> None:
        """Settle, and let no row wait any more."""
        self.settle()
        for arena in (module for module in model.modules() if isinstance(module, EmbeddingArena)):
            if arena.late is not None:
                arena.sparse, arena.late = False, None

    def settle(self) -> None:
        """Let all rows that wait catch up."""
        for part in self.parts.values():
            if isinstance(part.optimizer, Adam):
                part.optimizer.settle()

    def state_dict(self) -> dict[str, Any]:
        """The state of every part by its name: tensors and plain values."""
        return {name: part.optimizer.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave: the states and the learning rates; all else is as it was configured.

        Raises KeyError, TypeError, ValueError or CorruptError where that is something else.
        """
        for name, part in self.parts.items():
            now = part.optimizer.state_dict()["param_groups"]
            before = state[name]["param_groups"]
            groups = [{**one, "lr": typed(float, old["lr"])} for one, old in zip(now, before, strict=True)]
            part.optimizer.load_state_dict({**state[name], "param_groups": groups})


@dataclass(frozen=True)
class _LateRows:
    """The rows of one table that wait for an optimiser."""

    optimizer: Adam
    weight: Tensor

    def may_wait(self, num_ids: int) -> bool:
        state = self.optimizer.state.get(self.weight, {})
        step, first = int(state.get("step", 0)), int(state.get(_WAIT_FROM, EXACT_AFTER))
        numbers = self.weight.numel()
        if num_ids * (numbers // len(self.weight) + _PER_ID) * _PER_NUMBER <= numbers:
            return step >= first
        if _MOVED in state:
            state[_WAIT_FROM] = state["step"] + _STEPS_APART
        return False

    def catch_up(self, rows: Tensor) -> None:
        self.optimizer.catch_up(self.weight, rows)

    def settle(self) -> None:
        self.optimizer.settle()


def _with_l2(part: Part) -> list[tuple[Tensor, Tensor]]:
    gradients = []
    for weight in part.parameters:
        if weight.grad is not None:
            rows, gradient = rows_of(weight)
            if part.l2:
                gradient.add_(_take(weight, rows), alpha=part.l2)
            gradients.append((weight, gradient))
    return gradients


def _clip(gradients: Sequence[tuple[Tensor, Tensor]], limit: float, norm: Tensor) -> None:
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_ has it
    for _, gradient in gradients:
        gradient.mul_(factor.to(gradient.device))


def parameter_groups(model: nn.Module, *, split_wide: bool = True) -> dict[str, list[nn.Parameter]]:
    """Role -> parameters, empty roles left out.

    "embedding": tables, and vectors of dense features; "wide": what the model's ``parameter_roles`` calls so;
    "net": the rest.
    """
    roles: dict[str, list[nn.Parameter]] = getattr(model, "parameter_roles", dict)() if split_wide else {}
    wide = {id(weight) for weight in roles.get("wide", ())}
    tables = {id(module.weight) for module in model.modules() if isinstance(module, EmbeddingArena | DenseEmbedding)}
    groups: dict[str, list[nn.Parameter]] = {"net": [], "embedding": [], "wide": []}
    for weight in model.parameters():
        if weight.requires_grad:
            role = "wide" if id(weight) in wide else "embedding" if id(weight) in tables else "net"
            groups[role].append(weight)
    return {role: weights for role, weights in groups.items() if weights}


def build_optimizers(model: nn.Module, config: OptimConfig, *, norm: Norm = norm_of) -> Optimizers:
    """The optimisers of a model; sets ``sparse`` on every arena by what its optimiser can use.

    ``norm`` is another one where some of the gradients are elsewhere.
    """
    groups = parameter_groups(model, split_wide=config.wide_optimizer != "same")
    parts = {role: _part(role, weights, config) for role, weights in groups.items()}
    dense = {id(weight) for part in parts.values() if _is_dense(part.optimizer) for weight in part.parameters}
    for module in model.modules():
        if isinstance(module, EmbeddingArena):
            module.sparse, module.late = id(module.weight) not in dense, None
    return Optimizers(parts, clip_norm=config.clip_norm, norm=norm)


def _is_dense(optimizer: torch.optim.Optimizer) -> bool:
    return isinstance(optimizer, Adam)


def _part(role: str, weights: list[nn.Parameter], config: OptimConfig) -> Part:
    if role == "wide":
        return _wide_part(weights, config)
    if role == "embedding":
        lr = config.embedding_lr or config.lr
        return Part(_by_name(config.optimizer, weights, lr, state_format=config.table_state), config.embedding_l2)
    name = "adam" if config.optimizer in ("lazy_adam", "rowwise_adagrad") else config.optimizer
    return Part(_by_name(name, weights, config.lr), config.net_l2)


def _by_name(
    name: str, weights: list[nn.Parameter], lr: float, *, state_format: StateFormat = "fp32"
) -> torch.optim.Optimizer:
    if name == "lazy_adam":
        return LazyAdam(weights, lr, state_format=state_format)
    if name == "rowwise_adagrad":
        return RowwiseAdagrad(weights, lr)
    if name == "adagrad":
        return Adagrad(weights, lr, state_format=state_format)
    if name == "sgd":
        return torch.optim.SGD(weights, lr)
    return Adam(weights, lr)


def _wide_part(weights: list[nn.Parameter], config: OptimConfig) -> Part:
    if config.wide_optimizer == "adagrad":
        adagrad = Adagrad(weights, config.wide_lr, l1=config.wide_l1, state_format=config.table_state)
        return Part(adagrad, config.wide_l2)
    ftrl = FTRL(
        weights,
        config.wide_lr,
        beta=config.wide_beta,
        l1=config.wide_l1,
        l2=config.wide_l2,
        state_format=config.table_state,
    )
    return Part(ftrl)
