"""Row-sparse optimisers against slow definitions, torch's own, and a hand-worked case; the step around them."""

import copy
import math
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from crossfield.layers.embedding import EmbeddingArena
from crossfield.optim import (
    FTRL,
    Adagrad,
    Adam,
    LazyAdam,
    OptimConfig,
    Optimizers,
    Part,
    RowOptimizer,
    RowwiseAdagrad,
    _rounded,
    build_optimizers,
    parameter_groups,
)

ROWS, DIM, STEPS = 7, 3, 6


def table(seed: int = 0) -> nn.Parameter:
    return nn.Parameter(torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def gradients(seed: int = 1) -> list[tuple[list[int], Tensor]]:
    """Six steps of (rows, values): some rows often, some once, row 6 never."""
    generator = torch.Generator().manual_seed(seed)
    rows = [[0, 2], [1, 2, 5], [2], [0, 1, 2, 3, 4], [2, 4], []]
    return [(r, torch.randn(len(r), DIM, generator=generator, dtype=torch.float64)) for r in rows]


def sparse(rows: list[int], values: Tensor) -> Tensor:
    indices = torch.tensor([rows], dtype=torch.int64)
    return torch.sparse_coo_tensor(indices, values, (ROWS, DIM), is_coalesced=True, check_invariants=False)


def run_sparse(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> Tensor:
    for rows, values in gradients():
        weight.grad = sparse(rows, values.clone())
        optimizer.step()
    return weight.detach()


def slow_lazy_adam(weight: Tensor, lr: float, eps: float) -> list[list[float]]:
    w = weight.tolist()
    m = [[0.0] * DIM for _ in range(ROWS)]
    v = [[0.0] * DIM for _ in range(ROWS)]
    for step, (rows, values) in enumerate(gradients(), start=1):
        for r, row in zip(rows, values.tolist(), strict=True):
            for d, g in enumerate(row):
                m[r][d] = 0.9 * m[r][d] + 0.1 * g
                v[r][d] = 0.999 * v[r][d] + 0.001 * g * g
                corrected = math.sqrt(v[r][d] / (1 - 0.999**step)) + eps
                w[r][d] -= lr * (m[r][d] / (1 - 0.9**step)) / corrected
    return w


def slow_rowwise_adagrad(weight: Tensor, lr: float, eps: float) -> list[list[float]]:
    w, total = weight.tolist(), [0.0] * ROWS
    for rows, values in gradients():
        for r, row in zip(rows, values.tolist(), strict=True):
            total[r] += sum(g * g for g in row) / DIM
            w[r] = [x - lr * g / (math.sqrt(total[r]) + eps) for x, g in zip(w[r], row, strict=True)]
    return w


def slow_adagrad(weight: Tensor, lr: float, l1: float) -> list[list[float]]:
    w, total = weight.tolist(), [[0.0] * DIM for _ in range(ROWS)]
    for rows, values in gradients():
        for r, row in zip(rows, values.tolist(), strict=True):
            for d, g in enumerate(row):
                total[r][d] += g * g
                rate = lr / (math.sqrt(total[r][d]) + 1e-10)
                moved = w[r][d] - rate * g
                w[r][d] = math.copysign(max(abs(moved) - rate * l1, 0.0), moved)
    return w


def slow_ftrl(weight: Tensor, *, alpha: float, beta: float, l1: float, l2: float) -> list[list[float]]:
    w = weight.tolist()
    z = [[0.0] * DIM for _ in range(ROWS)]
    n = [[0.0] * DIM for _ in range(ROWS)]
    for rows, values in gradients():
        for r, row in zip(rows, values.tolist(), strict=True):
            for d, g in enumerate(row):
                sigma = (math.sqrt(n[r][d] + g * g) - math.sqrt(n[r][d])) / alpha
                z[r][d] += g - sigma * w[r][d]
                n[r][d] += g * g
                sign = math.copysign(1.0, z[r][d])
                curvature = (beta + math.sqrt(n[r][d])) / alpha + l2
                w[r][d] = 0.0 if abs(z[r][d]) <= l1 else -(z[r][d] - sign * l1) / curvature
    return w


def assert_close(actual: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_lazy_adam_is_its_slow_definition() -> None:
    weight = table()
    expected = slow_lazy_adam(weight.detach(), 0.01, 1e-3)
    assert_close(run_sparse(LazyAdam([weight], 0.01, eps=1e-3), weight), expected)


def test_lazy_adam_tends_to_sparse_adam_as_eps_vanishes_and_differs_where_eps_counts() -> None:
    ours, theirs, small = table(), table(), table()
    run_sparse(LazyAdam([ours], 0.01, eps=1e-20), ours)
    run_sparse(torch.optim.SparseAdam([theirs], 0.01, eps=1e-20), theirs)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    run_sparse(LazyAdam([small], 0.01, eps=1e-1), small)
    assert (small - theirs).abs().max() > 1e-3


def test_lazy_adam_on_dense_gradients_is_adam() -> None:
    ours, theirs = table(), table()
    mine, torchs = LazyAdam([ours], 0.01), torch.optim.Adam([theirs], 0.01)
    for rows, values in gradients():
        ours.grad, theirs.grad = sparse(rows, values).to_dense(), sparse(rows, values).to_dense()
        mine.step()
        torchs.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_adam_is_torchs() -> None:
    ours, theirs = [table(), table(1)], [table(), table(1)]
    mine, torchs = Adam(ours, 0.01), torch.optim.Adam(theirs, 0.01, fused=True)
    for rows, values in gradients():
        ours[0].grad, theirs[0].grad = sparse(rows, values).to_dense(), sparse(rows, values).to_dense()
        mine.step()
        torchs.step()
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    again = Adam(ours, 0.5)
    again.load_state_dict(copy.deepcopy(mine.state_dict()))
    assert again.param_groups[0]["lr"] == 0.01
    for one, other in ((again, ours[0]), (torchs, theirs[0])):
        other.grad = torch.ones_like(other)
        one.step()
    assert torch.equal(ours[0], theirs[0])


def test_rowwise_adagrad_is_its_slow_definition() -> None:
    weight = table()
    expected = slow_rowwise_adagrad(weight.detach(), 0.05, 1e-8)
    assert_close(run_sparse(RowwiseAdagrad([weight], 0.05), weight), expected)


def test_rowwise_adagrad_first_step_by_hand() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    RowwiseAdagrad([weight], 1.0).step()
    # Mean square of (3, 4) is 12.5: the step is g / sqrt(12.5).
    torch.testing.assert_close(weight.detach(), torch.tensor([[-3.0, -4.0], [0.0, 0.0]]) / math.sqrt(12.5))


@pytest.mark.parametrize("l1", [0.0, 0.3])
def test_adagrad_is_its_slow_definition(l1: float) -> None:
    weight = table()
    expected = slow_adagrad(weight.detach(), 0.5, l1)
    assert_close(run_sparse(Adagrad([weight], 0.5, l1=l1), weight), expected)


def test_ftrl_is_its_slow_definition() -> None:
    weight = nn.Parameter(torch.zeros(ROWS, DIM, dtype=torch.float64))
    expected = slow_ftrl(weight.detach(), alpha=0.3, beta=0.7, l1=0.4, l2=0.1)
    assert_close(run_sparse(FTRL([weight], 0.3, beta=0.7, l1=0.4, l2=0.1), weight), expected)


def test_ftrl_first_step_by_hand_and_exact_zeros() -> None:
    weight = nn.Parameter(torch.zeros(1, 3, dtype=torch.float64))
    optimizer = FTRL([weight], 0.5, beta=1.0, l1=1.0)
    weight.grad = torch.tensor([[2.0, 0.5, -1.0]], dtype=torch.float64)
    optimizer.step()
    # z = g; |z| = 2 > 1: w = -(2 - 1) / ((1 + 2) / 0.5) = -1/6; |z| = 0.5 and 1 do not exceed λ₁: exactly 0.
    torch.testing.assert_close(weight.detach(), torch.tensor([[-1 / 6, 0.0, 0.0]], dtype=torch.float64))
    assert weight[0, 1].item() == 0.0 and weight[0, 2].item() == 0.0


@pytest.mark.parametrize("start", [0.8, -0.8])
@pytest.mark.parametrize("sparse", [True, False])
def test_ftrl_goes_on_from_weights_that_it_did_not_make(start: float, sparse: bool) -> None:
    weight = nn.Parameter(torch.tensor([[start, 0.0]], dtype=torch.float64))
    optimizer = FTRL([weight], 0.1, beta=0.25, l1=0.5)
    gradient = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    weight.grad = gradient.to_sparse(1).coalesce() if sparse else gradient
    optimizer.step()
    # n = 0: z = -w β/α - sgn(w) λ₁, and the step is -α g / (β + |g|) as for any weight; 0.25 does not exceed λ₁.
    expected = torch.tensor([[start - 0.1 * 0.5 / 0.75, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(weight.detach(), expected)


def test_another_rate_leaves_the_weights_of_ftrl_where_they_are() -> None:
    weight = nn.Parameter(torch.zeros(1, 3, dtype=torch.float64))
    wide = FTRL([weight], 0.1, beta=0.25, l1=0.5)
    optimizers = Optimizers({"wide": Part(wide)})
    for _ in range(20):
        weight.grad = torch.tensor([[-2.0, 3.0, 0.01]], dtype=torch.float64)
        optimizers.step()
    before, n = weight.detach().clone(), wide.state[weight]["n"].clone()
    for factor in (0.1, 100.0):
        optimizers.scale_lr(factor)
        weight.grad = torch.zeros_like(weight)
        optimizers.step()
        torch.testing.assert_close(weight.detach(), before)
    assert before[0, 2] == 0.0 and weight[0, 2] == 0.0
    torch.testing.assert_close(wide.state[weight]["n"], n)


def test_ftrl_without_beta_keeps_untouched_weights_at_zero() -> None:
    weight = nn.Parameter(torch.zeros(1, 2))
    weight.grad = torch.tensor([[1.0, 0.0]])
    FTRL([weight], 0.1, beta=0.0).step()
    torch.testing.assert_close(weight.detach(), torch.tensor([[-0.1, 0.0]]))


@pytest.mark.parametrize("kind", [RowwiseAdagrad, Adagrad, FTRL])
def test_sparse_and_dense_gradients_agree_on_touched_rows(kind: Callable[..., RowOptimizer]) -> None:
    start = torch.zeros(ROWS, DIM, dtype=torch.float64)
    by_rows, whole = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    first, second = kind([by_rows]), kind([whole])
    for rows, values in gradients():
        by_rows.grad, whole.grad = sparse(rows, values), sparse(rows, values).to_dense()
        first.step()
        second.step()
    torch.testing.assert_close(by_rows, whole, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", [LazyAdam, RowwiseAdagrad, Adagrad, FTRL])
def test_rows_without_gradient_keep_their_bits(kind: Callable[..., RowOptimizer]) -> None:
    weight = table()
    before = weight.detach().clone()
    run_sparse(kind([weight]), weight)
    assert torch.equal(weight[6], before[6])
    assert not torch.equal(weight[2], before[2])


@pytest.mark.parametrize("kind", [LazyAdam, RowwiseAdagrad, Adagrad, FTRL])
def test_unsorted_and_repeated_rows_are_added_up_first(kind: Callable[..., RowOptimizer]) -> None:
    values = torch.ones(3, DIM, dtype=torch.float64)
    repeated, merged = table(), table()
    repeated.grad = torch.sparse_coo_tensor(torch.tensor([[4, 1, 4]]), values, (ROWS, DIM), check_invariants=False)
    merged.grad = sparse([1, 4], torch.stack([values[0], 2 * values[0]]))
    kind([repeated]).step()
    kind([merged]).step()
    assert torch.equal(repeated, merged)


@pytest.mark.parametrize("state", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["lazy_adam", "rowwise_adagrad", "adagrad"])
def test_gradients_padded_to_fixed_shapes_move_the_weights_as_exact_ones_do(
    optimizer: Literal["lazy_adam", "rowwise_adagrad", "adagrad"], state: Literal["fp32", "bf16"]
) -> None:
    found = []
    for is_padded in (False, True):
        model = WideTwoPart().float()
        optimizers = build_optimizers(model, OptimConfig(optimizer=optimizer, table_state=state, embedding_l2=0.1))
        assert optimizers.writes_rows_back
        for module in model.modules():
            if isinstance(module, EmbeddingArena):
                module.pad(is_padded)
        for ids in (IDS, torch.tensor([[3, 5], [3, 5]]), IDS):
            optimizers.zero_grad()
            model(ids).square().sum().backward()
            assert model.arena.weight.grad is not None
            assert model.arena.weight.grad._values().shape[0] == (ids.numel() if is_padded else ids.unique().numel())
            optimizers.step()
        found.append(model.state_dict())
    for name, exact in found[0].items():
        torch.testing.assert_close(found[1][name], exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("settings", "may"), [({}, True), ({"clip_norm": 1.0}, False), ({"optimizer": "sgd"}, False)])
def test_where_a_row_named_twice_would_count_twice_shapes_are_not_fixed(settings: dict[str, Any], may: bool) -> None:
    assert build_optimizers(TwoPart(), OptimConfig.of(settings)).writes_rows_back == may
    dense = OptimConfig.of({**settings, "optimizer": "adam"})
    assert build_optimizers(TwoPart(), dense).writes_rows_back


def test_averages_in_bf16_come_back_in_bf16() -> None:
    weight = nn.Parameter(table().detach().float())
    optimizer, other = LazyAdam([weight], state_format="bf16"), LazyAdam([weight], state_format="bf16")
    weight.grad = sparse([1, 2], torch.randn(2, DIM)).float()
    optimizer.step()
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for name, value in optimizer.state[weight].items():
        assert other.state[weight][name].dtype == value.dtype and torch.equal(other.state[weight][name], value), name


@pytest.mark.parametrize("kind", [LazyAdam, RowwiseAdagrad, Adagrad, FTRL])
def test_state_round_trip_continues_bit_equal(kind: Callable[..., RowOptimizer]) -> None:
    straight = table()
    optimizer = kind([straight])
    run_sparse(optimizer, straight)
    resumed = nn.Parameter(straight.detach().clone())
    other = kind([resumed])
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run_sparse(optimizer, straight)
    run_sparse(other, resumed)
    assert torch.equal(straight, resumed)


class TwoPart(nn.Module):
    """An arena over two fields and a dense layer; ``wide`` splits off a second arena."""

    def __init__(self, wide: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.arena = EmbeddingArena([4, 6], 3, std=0.1).double()
        self.net = nn.Linear(6, 1).double()
        self.wide = EmbeddingArena([4, 6], 1, std=0.0).double() if wide else None
        self.bias = nn.Parameter(torch.zeros(1, dtype=torch.float64)) if wide else None

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.net(self.arena(ids).flatten(1))
        return logits if self.wide is None else logits + self.wide(ids).sum(1) + self.bias


class WideTwoPart(TwoPart):
    def __init__(self) -> None:
        super().__init__(wide=True)

    def parameter_roles(self) -> dict[str, list[nn.Parameter]]:
        assert self.wide is not None and self.bias is not None
        return {"wide": [self.wide.weight, self.bias], "deep": [self.arena.weight, *self.net.parameters()]}


IDS = torch.tensor([[1, 2], [3, 2], [1, 5]])


def backward(model: nn.Module, optimizers: Optimizers, *, penalty: Tensor | float = 0.0) -> None:
    optimizers.zero_grad()
    (3 * model(IDS).square().mean() - model(IDS).mean() + penalty).backward()


@pytest.mark.parametrize("name", ["lazy_adam", "rowwise_adagrad", "adagrad", "sgd"])
def test_no_dense_gradient_on_the_row_sparse_path(name: str) -> None:
    model = TwoPart()
    optimizers = build_optimizers(model, OptimConfig.of({"optimizer": name, "clip_norm": 0.1, "embedding_l2": 0.1}))
    before = model.arena.weight.detach().clone()
    backward(model, optimizers)
    optimizers.step()
    grad = model.arena.weight.grad
    assert grad is not None and grad.is_sparse
    touched = {1, 3, 4 + 2, 4 + 5}
    changed = (model.arena.weight != before).any(1).nonzero().flatten().tolist()
    assert set(changed) == touched


def test_dense_adam_with_l2_and_clip_is_autograd_of_loss_plus_l2() -> None:
    config = OptimConfig(optimizer="adam", lr=0.01, embedding_l2=0.3, net_l2=0.2, clip_norm=0.1)
    ours, reference = TwoPart(), TwoPart()
    optimizers = build_optimizers(ours, config)
    adam = torch.optim.Adam(reference.parameters(), 0.01)
    reference_optimizers = Optimizers({})
    for _ in range(4):
        backward(ours, optimizers)
        optimizers.step()
        reference.zero_grad()
        penalty = 0.15 * reference.arena.weight.square().sum()
        penalty = penalty + 0.1 * sum(p.square().sum() for p in reference.net.parameters())
        backward(reference, reference_optimizers, penalty=penalty)
        norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.1)
        assert norm > 0.1, "the clip must bite for the test to mean anything"
        adam.step()
    for mine, theirs in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_row_sparse_l2_counts_only_touched_rows_and_joins_before_the_clip() -> None:
    model, reference = TwoPart(), TwoPart()
    optimizers = build_optimizers(model, OptimConfig(optimizer="sgd", lr=1.0, embedding_l2=0.5, clip_norm=0.2))
    backward(model, optimizers)
    optimizers.step()
    backward(reference, Optimizers({}))
    touched = torch.zeros(10, 1, dtype=torch.float64)
    touched[[1, 3, 6, 9]] = 1.0
    grad = reference.arena.weight.grad
    assert grad is not None
    reference.arena.weight.grad = grad + 0.5 * reference.arena.weight.detach() * touched
    torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.2)
    torch.optim.SGD(reference.parameters(), 1.0).step()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_clip_leaves_small_gradients_alone() -> None:
    clipped, free = TwoPart(), TwoPart()
    for model, config in ((clipped, OptimConfig(clip_norm=1e3)), (free, OptimConfig())):
        optimizers = build_optimizers(model, config)
        backward(model, optimizers)
        optimizers.step()
    assert all(torch.equal(a, b) for a, b in zip(clipped.parameters(), free.parameters(), strict=True))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (True, True)),
        ({"optimizer": "adam"}, (False, True)),
        ({"optimizer": "adam", "wide_optimizer": "same"}, (False, False)),
    ],
)
def test_arenas_are_sparse_unless_adam_moves_whole_tables(
    settings: dict[str, str], expected: tuple[bool, bool]
) -> None:
    model = WideTwoPart()
    build_optimizers(model, OptimConfig.of(settings))
    assert model.wide is not None
    assert (model.arena.sparse, model.wide.sparse) == expected


def test_wide_part_has_an_optimizer_and_learning_rate_of_its_own() -> None:
    model = WideTwoPart()
    assert {role: len(p) for role, p in parameter_groups(model).items()} == {"embedding": 1, "net": 2, "wide": 2}
    optimizers = build_optimizers(model, OptimConfig(wide_lr=0.25))
    wide = optimizers.parts["wide"].optimizer
    assert isinstance(wide, FTRL) and wide.param_groups[0]["lr"] == 0.25
    assert optimizers.lr == 1e-3
    adagrad = build_optimizers(model, OptimConfig(wide_optimizer="adagrad", wide_l1=0.5)).parts["wide"].optimizer
    assert isinstance(adagrad, Adagrad) and adagrad.param_groups[0]["l1"] == 0.5
    same = build_optimizers(model, OptimConfig(wide_optimizer="same"))
    assert set(same.parts) == {"embedding", "net"}
    assert len(list(same.parts["embedding"].parameters)) == 2


@pytest.mark.parametrize("wide", ["ftrl", "adagrad"])
def test_strong_l1_keeps_wide_weights_exactly_zero(wide: str) -> None:
    model = WideTwoPart()
    optimizers = build_optimizers(model, OptimConfig.of({"wide_optimizer": wide, "wide_l1": 10.0}))
    backward(model, optimizers)
    optimizers.step()
    assert model.wide is not None and model.bias is not None
    assert model.wide.weight.count_nonzero() == 0 and model.bias.count_nonzero() == 0


def test_learning_rates_shrink_to_their_floor_and_never_rise() -> None:
    optimizers = build_optimizers(WideTwoPart(), OptimConfig(lr=1e-3, embedding_lr=1e-7, wide_lr=0.05))
    optimizers.scale_lr(0.1, least=1e-6)
    rates = {name: part.optimizer.param_groups[0]["lr"] for name, part in optimizers.parts.items()}
    assert rates == {"net": pytest.approx(1e-4), "embedding": 1e-7, "wide": pytest.approx(5e-3)}
    for _ in range(5):
        optimizers.scale_lr(0.1, least=1e-6)
    assert optimizers.lr == 1e-6


@pytest.fixture
def rows_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of tables wait for Adam from the fourth step on, however small the tables."""
    for name, value in (("EXACT_AFTER", 3), ("_WORTH_WAITING", 0), ("_PER_NUMBER", 0)):
        monkeypatch.setattr(f"crossfield.optim.{name}", value)


SOME_IDS = (IDS, torch.tensor([[1, 2]]), torch.tensor([[3, 5], [3, 0]]), torch.tensor([[0, 1]]))


def follow(model: nn.Module, optimizers: Optimizers, *, steps: range) -> list[Tensor]:
    """What the model says before each step."""
    said = []
    for step in steps:
        optimizers.zero_grad()
        output = model(SOME_IDS[step % len(SOME_IDS)])
        said.append(output.detach().clone())
        (3 * output.square().mean() - output.mean()).backward()
        optimizers.step()
    return said


@pytest.mark.usefixtures("rows_wait")
def test_rows_that_wait_are_where_adam_over_whole_tables_has_them_whenever_they_are_read() -> None:
    config = OptimConfig(optimizer="adam", lr=0.01, clip_norm=1.0)
    late, whole = TwoPart(), TwoPart()
    waiting, optimizers = build_optimizers(late, config), build_optimizers(whole, config)
    waiting.defer(late)
    for steps in (range(40), range(40, 60)):
        for mine, theirs in zip(
            follow(late, waiting, steps=steps), follow(whole, optimizers, steps=steps), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)
        assert (late.arena.weight - whole.arena.weight).abs().max() > 1e-4, "some rows must wait"
        if steps.start == 0:
            waiting.scale_lr(0.1)  # rows that wait have steps to make at the rate before
            optimizers.scale_lr(0.1)
        torch.testing.assert_close(late.eval()(IDS), whole.eval()(IDS), rtol=0, atol=1e-9)
        torch.testing.assert_close(late.arena.weight, whole.arena.weight, rtol=0, atol=1e-9)
        late.train()
        whole.train()
    kept, expected = waiting.state_dict()["embedding"]["state"][0], optimizers.state_dict()["embedding"]["state"][0]
    assert kept.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("rows_wait")
def test_a_step_with_many_ids_moves_whole_tables_and_some_steps_later_rows_wait_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = OptimConfig(optimizer="adam", lr=0.01)
    late, whole = TwoPart(), TwoPart()
    waiting, optimizers = build_optimizers(late, config), build_optimizers(whole, config)
    waiting.defer(late)
    monkeypatch.setattr("crossfield.optim._STEPS_APART", 2.0)
    kinds = []
    for step in range(24):
        monkeypatch.setattr("crossfield.optim._PER_NUMBER", 100 if step % 6 == 4 else 0)
        follow(late, waiting, steps=range(step, step + 1))
        follow(whole, optimizers, steps=range(step, step + 1))
        kinds.append(late.arena.weight.grad is not None and late.arena.weight.grad.is_sparse)
    assert kinds == [step >= 3 and step % 6 not in (4, 5) for step in range(24)]
    waiting.release(late)
    for mine, theirs in zip(
        follow(late, waiting, steps=range(20)), follow(whole, optimizers, steps=range(20)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)
    assert late.arena.weight.grad is not None and not late.arena.weight.grad.is_sparse


def test_moments_of_rows_without_a_gradient_never_become_numbers_that_a_cpu_is_slow_with() -> None:
    torch.manual_seed(0)
    mine = nn.Parameter(torch.randn(5, DIM))
    theirs = nn.Parameter(mine.detach().clone())
    adam, reference = Adam([mine], 0.01), torch.optim.Adam([theirs], 0.01, fused=True)
    smallest = torch.finfo(torch.float32).smallest_normal
    for step in range(2_000):
        mine.grad = torch.zeros_like(mine)
        if step < 10:
            mine.grad[:2] = torch.randn(2, DIM)  # and none from then on
        mine.grad[2] = torch.randn(DIM)
        theirs.grad = mine.grad.clone()
        adam.step()
        reference.step()
        assert all(((one == 0) | (one.abs() >= smallest)).all() for one in adam.state[mine].values())
    assert torch.equal(mine, theirs), "what is cleared has moved nothing for long"
    assert not ((kept := reference.state[theirs]["exp_avg"]) == 0)[:2].all() and (kept[:2].abs() < smallest).all()


def test_a_dense_gradient_after_sparse_ones_finds_all_rows_where_they_have_to_be() -> None:
    mine, theirs = table(), table()
    adam, reference = Adam([mine], 0.01), torch.optim.Adam([theirs], 0.01)
    torch.manual_seed(0)
    for step in range(1200):
        values = torch.randn(1, DIM, dtype=torch.float64)
        rows = torch.tensor([step % 3])
        theirs.grad = torch.zeros_like(theirs)
        theirs.grad[rows] = values
        is_dense = step < 1000 or step == 1150
        mine.grad = theirs.grad.clone() if is_dense else sparse(rows.tolist(), values)
        adam.step()
        reference.step()
    adam.settle()
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


@pytest.mark.usefixtures("rows_wait")
def test_new_optimisers_of_a_model_know_nothing_of_rows_that_waited_for_others() -> None:
    model = TwoPart()
    build_optimizers(model, OptimConfig(optimizer="adam")).defer(model)
    build_optimizers(model, OptimConfig(optimizer="lazy_adam"))
    assert model.arena.late is None and model.arena.sparse


@pytest.mark.usefixtures("rows_wait")
def test_rows_go_on_waiting_after_a_round_trip_of_the_state() -> None:
    config = OptimConfig(optimizer="adam", lr=0.01)
    straight, resumed = TwoPart(), TwoPart()
    optimizers, others = build_optimizers(straight, config), build_optimizers(resumed, config)
    optimizers.defer(straight)
    follow(straight, optimizers, steps=range(13))
    resumed.load_state_dict(straight.state_dict())
    others.defer(resumed)
    others.load_state_dict(copy.deepcopy(optimizers.state_dict()))
    assert "moved" in others.state_dict()["embedding"]["state"][0]
    for one, mine in ((straight, optimizers), (resumed, others)):
        follow(one, mine, steps=range(13, 30))
        mine.settle()
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.usefixtures("rows_wait")
@pytest.mark.parametrize("settings", [{"optimizer": "adam", "embedding_l2": 0.1}, {"optimizer": "lazy_adam"}])
def test_rows_with_l2_and_those_of_other_optimisers_do_not_wait(settings: dict[str, Any]) -> None:
    model = TwoPart()
    build_optimizers(model, OptimConfig.of(settings)).defer(model)
    assert model.arena.late is None


def test_rows_of_small_tables_do_not_wait() -> None:
    model = TwoPart()
    build_optimizers(model, OptimConfig(optimizer="adam")).defer(model)
    assert model.arena.late is None and not model.arena.sparse


@pytest.mark.parametrize("name", ["lazy_adam", "rowwise_adagrad", "adam", "adagrad", "sgd"])
def test_whole_state_round_trip_continues_bit_equal(name: str) -> None:
    config = OptimConfig.of({"optimizer": name, "clip_norm": 1.0})
    straight = WideTwoPart()
    optimizers = build_optimizers(straight, config)

    def train(model: nn.Module, mine: Optimizers) -> None:
        for _ in range(3):
            backward(model, mine)
            mine.step()

    train(straight, optimizers)
    optimizers.scale_lr(0.1)
    resumed = WideTwoPart()
    resumed.load_state_dict(straight.state_dict())
    others = build_optimizers(resumed, config)
    others.load_state_dict(copy.deepcopy(optimizers.state_dict()))
    assert others.lr == optimizers.lr
    train(straight, optimizers)
    train(resumed, others)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


OPTIMIZERS_WITH_STATE = {
    "lazy_adam": lambda weight, state: LazyAdam([weight], 0.01, state_format=state),
    "adagrad": lambda weight, state: Adagrad([weight], 0.1, l1=1e-3, state_format=state),
    "ftrl": lambda weight, state: FTRL([weight], 0.1, beta=0.1, l1=1e-3, state_format=state),
}


@pytest.mark.parametrize("name", OPTIMIZERS_WITH_STATE)
@pytest.mark.parametrize("is_sparse", [True, False])
def test_half_the_state_learns_nearly_the_same(name: str, is_sparse: bool) -> None:
    learned = {}
    for state in ("fp32", "bf16"):
        weight = nn.Parameter(torch.zeros(40, 8))
        optimizer = OPTIMIZERS_WITH_STATE[name](weight, state)
        generator = torch.Generator().manual_seed(0)
        for _ in range(300):
            rows = torch.randperm(40, generator=generator)[:10].sort().values
            values = torch.randn(10, 8, generator=generator) * 0.1 + 0.02
            weight.grad = torch.sparse_coo_tensor(
                rows.unsqueeze(0), values, weight.shape, is_coalesced=True, check_invariants=False
            )
            if not is_sparse:
                weight.grad = weight.grad.to_dense()
            optimizer.step()
        kept = [one for name, one in optimizer.state[weight].items() if name != "steps"]
        assert {one.dtype for one in kept} == {torch.bfloat16 if state == "bf16" else torch.float32}
        learned[state] = weight.detach()
    off = (learned["bf16"] - learned["fp32"]).norm() / learned["fp32"].norm()
    assert 0 < off < 0.04


def test_averages_in_bf16_fade_as_they_should() -> None:
    # Without dice the square would stay at 1: a thousandth of it is less than half a step of bf16.
    weight = nn.Parameter(torch.zeros(1000, 8))
    optimizer = LazyAdam([weight], state_format="bf16")
    weight.grad = torch.zeros(1000, 8)
    optimizer.step()
    optimizer.state[weight]["exp_avg_sq"].fill_(1.0)
    for _ in range(500):
        optimizer.step()
    kept = optimizer.state[weight]["exp_avg_sq"].float()
    assert kept.mean().item() == pytest.approx(0.999**500, rel=0.05)


def test_what_bf16_can_hold_is_kept_as_it_is() -> None:
    values = torch.tensor([0.0, -1.5, 2.0**-30, 3.0e38, float("inf")])
    held = values.bfloat16()
    assert torch.equal(_rounded(held.float(), torch.randn(5), salt=3), held)


def test_rounding_at_random_is_right_on_average() -> None:
    torch.manual_seed(0)
    for value in (1.003, -7.77e-9, 123.4):
        rounded = _rounded(torch.full((100_000,), value), torch.randn(100_000).bfloat16().float(), salt=5).float()
        assert len(rounded.unique()) == 2
        assert rounded.double().mean().item() == pytest.approx(value, rel=2e-5)
