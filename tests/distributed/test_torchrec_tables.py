"""Tables that TorchRec holds train what tables in memory train; what it cannot do is refused before anything begins."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from crossfield.data.store import write_store
from crossfield.distributed import torchrec_tables
from crossfield.distributed.team import ALONE, Team
from crossfield.distributed.torchrec_tables import FusedTables, TorchRecArena, check_versions, partner
from crossfield.errors import ConfigError, MissingExtraError, NotFiniteError
from crossfield.layers.embedding import EmbeddingArena
from crossfield.models import CATALOGUE
from crossfield.models.base import Solved
from crossfield.optim import LazyAdam, OptimConfig
from crossfield.train import Trainer
from tests.distributed.launch import all_well, launch
from tests.distributed.test_spread import SCHEMA, SIZES, Case, encoded, trainer

needs_torchrec = pytest.mark.skipif(
    not (find_spec("torchrec") and find_spec("fbgemm_gpu")),
    reason="torchrec and fbgemm-gpu-cpu are not installed; docs/decisions/010-torchrec.md says how",
)
NUM_ROWS = (7, 5, 4)
IDS = [torch.tensor([[3, 0, 1], [6, 3, 1], [3, 0, 1]]), torch.empty(0, 3, dtype=torch.int64)]
KINDS: list[tuple[str, ...]] = [("table_wise",), ("row_wise",)]
FUSED = {"sgd": {"lr": 1.0}, "adagrad": {"lr": 0.5}, "rowwise_adagrad": {"embedding_lr": 0.5}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_store([encoded()], folder, model_schema=SCHEMA, fingerprint="f")
    return folder


# What is installed


def has(monkeypatch: pytest.MonkeyPatch, torch_version: str = "2.13.0+cpu", **installed: str) -> None:
    named = {name.replace("_", "-"): version for name, version in installed.items()}
    monkeypatch.setattr(torchrec_tables, "_version", named.get)
    monkeypatch.setattr(torch, "__version__", torch_version)


@pytest.mark.parametrize(("release", "expected"), [("2.13.0+cu130", "1.8"), ("2.14.1", "1.9"), ("2.15.0a0", "1.10")])
def test_torchrec_and_fbgemm_have_one_release_for_each_of_torch(release: str, expected: str) -> None:
    assert partner(release) == expected


def test_releases_that_were_not_built_for_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, torchrec="1.8.0", fbgemm_gpu="1.8.2")
    check_versions()
    has(monkeypatch, torchrec="1.8.0", fbgemm_gpu_cpu="1.9.0")
    with pytest.raises(
        ConfigError,
        match=r"torchrec 1\.8\.0, fbgemm-gpu-cpu 1\.9\.0 and torch 2\.13\.0\+cpu are not built for each other.*"
        r"torch 2\.13 goes with 1\.8 of both: pip install --no-deps 'torchrec==1\.8\.\*' 'fbgemm-gpu-cpu==1\.8\.\*'",
    ):
        check_versions()
    has(monkeypatch, "2.14.0", torchrec="1.8.0", fbgemm_gpu="1.8.0")
    with pytest.raises(ConfigError, match=r"torch 2\.14 goes with 1\.9 of both"):
        check_versions()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch)
    with pytest.raises(MissingExtraError, match=r"^torchrec is not installed; .* 'crossfield\[torchrec\]'"):
        check_versions()
    has(monkeypatch, torchrec="1.8.0")
    with pytest.raises(MissingExtraError, match="fbgemm-gpu, without which torchrec cannot be imported, is not"):
        check_versions()


# What is asked


@pytest.mark.parametrize(
    ("settings", "device", "cache", "message"),
    [
        ({"embedding_l2": 0.1}, "cuda", None, r"train\.embedding_l2 = 0\.1 needs the gradients of tables"),
        ({"clip_norm": 10.0}, "cuda", None, r"train\.clip_norm = 10 needs the gradients of tables"),
        ({"optimizer": "adam"}, "cuda", None, r'"adam" changes whole tables.*take lazy_adam or rowwise_adagrad or'),
        ({"table_state": "bf16"}, "cuda", None, r'train\.table_state = "bf16" is not for'),
        ({"optimizer": "lazy_adam"}, "cpu", None, "FBGEMM has no Adam for a CPU; take rowwise_adagrad, adagrad or sgd"),
        ({"optimizer": "sgd"}, "cpu", 0.2, r"train\.table_cache keeps rows on a GPU, and this is a CPU"),
    ],
)
def test_what_fused_updates_cannot_do_is_refused(
    settings: dict[str, Any], device: str, cache: float | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        FusedTables(OptimConfig.of(settings), 8, cache).check(device)


def test_what_they_can_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, torchrec="1.8.0", fbgemm_gpu="1.8.0")
    for device, optimizer in [*product(["cuda"], ["lazy_adam", *FUSED]), *product(["cpu"], FUSED)]:
        FusedTables(OptimConfig.of({"optimizer": optimizer}), 8).check(device)


@pytest.mark.parametrize("settings", [{"compile": "on"}, {"cuda_graph": True}])
def test_steps_that_are_compiled_or_recorded_are_refused(settings: dict[str, Any], folder: Path) -> None:
    with pytest.raises(ConfigError, match=r'is not for train\.tables = "torchrec"; leave it out'):
        trainer(ALONE, Case(settings={"tables": "torchrec", "optimizer": "sgd", **settings}), folder, [])


@pytest.mark.parametrize(("dim", "wide", "expected"), [(4, "ftrl", 1), (6, "ftrl", 0), (4, "same", 1)])
def test_it_holds_embeddings_of_a_width_that_fbgemm_has(dim: int, wide: Any, expected: int) -> None:
    kind = CATALOGUE["wide_deep"]
    model = kind(SCHEMA, kind.config_type(**{**SIZES["wide_deep"], "embedding_dim": dim}))
    fused = FusedTables(OptimConfig(wide_optimizer=wide), 8)
    assert [one.dim for one in fused.arenas(model)] == [dim] * expected, "neither the wide part's nor another width"
    if expected:
        assert fused.device(model) == "cpu"
    else:
        with pytest.raises(
            ConfigError, match="of a width that 4 divides, and this model has none; change its embedding"
        ):
            fused.device(model)


# One table


def looked_up(team: Team, num_rows: Sequence[int]) -> list[dict[str, Any]]:
    """What an arena answers, holds after one step and remembers, for each optimiser and kind of layout."""
    answers = []
    for optimizer, torchrec_tables.KINDS in product(FUSED, KINDS):
        torch.manual_seed(0)
        fused = FusedTables(OptimConfig.of({"optimizer": optimizer, **FUSED[optimizer]}), 8)
        arena = TorchRecArena(EmbeddingArena(num_rows, 4, std=1.0), team, fused)
        assert set(arena.layout) == set(torchrec_tables.KINDS)
        vectors = arena(IDS[team.rank][:, : len(num_rows)])
        (vectors * (1 + team.rank)).square().sum().backward()
        stepped, memory = arena.state_dict()["weight"], arena.memory()
        average = arena.average(1, sum(num_rows) - 1)
        arena.overwrite([0, sum(num_rows) - 1], torch.ones(4))
        with torch.no_grad():
            last = torch.tensor([[0] * (len(num_rows) - 1) + [num_rows[-1] - 1]])
            after = arena.eval()(last)[0, -1]
        found = {"vectors": vectors.detach(), "stepped": stepped, "average": average, "after": after, **memory}
        arena.load_state_dict({"weight": torch.full_like(stepped, 2.0)})
        arena.remember({name: torch.full_like(one, 3.0) for name, one in memory.items()})
        taken = [one.numpy() for one in (arena.state_dict()["weight"], *arena.memory().values())]
        answers.append({name: one.numpy() for name, one in found.items()} | {"held": arena.held, "taken": taken})
    return answers


def expected_of(optimizer: str, num_rows: Sequence[int], size: int) -> dict[str, Any]:
    """The same of one table in memory, whose gradient is the sum of everybody's."""
    torch.manual_seed(0)
    whole = EmbeddingArena(num_rows, 4, std=1.0)
    before = whole.weight.detach().clone()
    vectors = [whole(IDS[rank][:, : len(num_rows)]) for rank in range(size)]
    torch.stack([(one * (1 + rank)).square().sum() for rank, one in enumerate(vectors)]).sum().backward()
    rate = next(iter(FUSED[optimizer].values()))
    gradient = whole.weight.grad
    assert gradient is not None
    total = gradient.square() if optimizer == "adagrad" else gradient.square().mean(1)
    scale = {"sgd": torch.ones(1), "adagrad": total.sqrt() + 1e-10, "rowwise_adagrad": total.sqrt()[:, None] + 1e-8}
    found = {"vectors": vectors, "stepped": before - rate * gradient / scale[optimizer]}
    return found if optimizer == "sgd" else {**found, "sum": total}


@needs_torchrec
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("num_rows", [NUM_ROWS, (7,)])
def test_lookups_and_steps_are_those_of_one_table(size: int, num_rows: tuple[int, ...]) -> None:
    answers = all_well(launch(looked_up, size, num_rows))
    for place, (optimizer, _) in enumerate(product(FUSED, KINDS)):
        expected = expected_of(optimizer, num_rows, size)
        for rank, answer in enumerate(answers):
            found = answer[place]
            held = [row for run in found["held"] for row in run]
            assert (found["vectors"] == expected["vectors"][rank].detach().numpy()).all()
            for name in ("stepped", *(["sum"] if "sum" in expected else [])):
                wanted = expected[name].detach()[held].numpy()
                np.testing.assert_allclose(found[name], wanted, rtol=1e-6, atol=1e-7, err_msg=f"{optimizer}, {name}")
            mean = expected["stepped"][1:-1].mean(0).detach().numpy()
            np.testing.assert_allclose(found["average"], mean, rtol=1e-6)
            assert (found["after"] == 1).all()
            assert [len(one) for one in found["taken"]] == [len(held)] * len(found["taken"])
            assert all((one == 2 + (number > 0)).all() for number, one in enumerate(found["taken"]))
        rows = [row for answer in answers for run in answer[place]["held"] for row in run]
        assert sorted(rows) == list(range(sum(num_rows))), "every row is on one process"


def look_up_twice(team: Team) -> str:
    arena = TorchRecArena(EmbeddingArena(NUM_ROWS, 4), team, FusedTables(OptimConfig(optimizer="sgd"), 8))
    arena(IDS[0]).sum().backward()
    arena(IDS[0])
    try:
        arena(IDS[0])
    except ConfigError as error:
        return str(error)
    return ""


@needs_torchrec
def test_a_table_that_is_looked_up_twice_in_a_step_is_refused() -> None:
    assert "looks a table up twice in a step" in all_well(launch(look_up_twice, 1))[0]


def spied_on(team: Team) -> tuple[dict[str, list[str]], int, float]:
    """Which of a kernel's methods each use calls, and the step that Adam would count after evaluations."""
    fused = FusedTables(OptimConfig(optimizer="rowwise_adagrad"), 8)
    arena = TorchRecArena(EmbeddingArena(NUM_ROWS, 4), team, fused)
    [kernel] = arena._kernels()
    calls: list[str] = []
    for name in ("flush", "reset_cache_states"):
        setattr(kernel, name, partial(calls.append, name))
    uses: dict[str, Callable[[], Any]] = {
        "state_dict": arena.state_dict,
        "average": lambda: arena.average(0, 3),
        "overwrite": lambda: arena.overwrite([0], torch.ones(4)),
        "load_state_dict": lambda: arena.load_state_dict(arena.state_dict()),
    }
    said = {}
    for name, use in uses.items():
        calls.clear()
        use()
        said[name] = [*calls]
    arena._kernel = replace(arena._kernel, like=LazyAdam)  # FBGEMM makes no Adam on a CPU
    arena(IDS[0]).sum().backward()
    with torch.inference_mode():
        arena.eval()(IDS[0])
    arena.train()(IDS[0]).sum().backward()
    return said, int(kernel.iter_cpu), float(arena.memory()["steps"])


@needs_torchrec
def test_what_a_gpu_has_cached_is_written_back_and_forgotten_and_evaluations_are_no_steps() -> None:
    [(said, iteration, steps)] = all_well(launch(spied_on, 1))
    assert said["state_dict"] == said["average"] == ["flush"]
    assert said["overwrite"] == ["flush", "reset_cache_states"]
    assert said["load_state_dict"] == ["flush", "flush", "reset_cache_states"]
    assert (iteration, steps) == (2, 2.0)


def planned(team: Team, cache: float | None) -> list[tuple[str, str, float | None]]:
    """How the planner would lay out a table of 12.8 GB and a small one on GPUs of 8 GB, none of which is needed."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from torchrec.distributed.embedding import EmbeddingCollectionSharder
    from torchrec.modules.embedding_configs import EmbeddingConfig
    from torchrec.modules.embedding_modules import EmbeddingCollection

    torch.cuda.get_device_properties = lambda device: SimpleNamespace(total_memory=8 << 30)
    device = torch.device("cuda", team.rank)
    arena: Any = SimpleNamespace(team=team, offsets=SimpleNamespace(device=device), names=["large", "small"])
    tables = EmbeddingCollection(
        tables=[
            EmbeddingConfig(num_embeddings=rows, embedding_dim=16, name=name, feature_names=[name])
            for name, rows in (("large", 200_000_000), ("small", 1000))
        ],
        device=torch.device("meta"),
    )
    sharder = EmbeddingCollectionSharder(fused_params={"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD})
    fused = FusedTables(OptimConfig(optimizer="rowwise_adagrad"), 4096, cache)
    plan = torchrec_tables._plan(arena, fused, tables, sharder, torchrec_tables._group(team, torch.device("cpu")))
    found = [plan[name] for name in arena.names]
    caches = [None if one.cache_params is None else one.cache_params.load_factor for one in found]
    return [(one.sharding_type, one.compute_kernel, load) for one, load in zip(found, caches, strict=True)]


@needs_torchrec
def test_large_tables_lie_by_rows_and_with_a_cache_in_host_memory() -> None:
    whole, cached = (all_well(launch(planned, 2, cache))[0] for cache in (None, 0.2))
    assert whole[0] == ("row_wise", "fused", None), "12.8 GB fit none of them, and columns are not asked"
    assert [one[1:] for one in cached] == [("fused_uvm_caching", 0.2)] * 2
    assert {one[0] for one in [*whole, *cached]} <= set(torchrec_tables.KINDS)


def planned_without_room(team: Team) -> str:
    try:
        planned(team, None)
    except ConfigError as error:
        return str(error)
    return ""


@needs_torchrec
def test_tables_that_fit_nowhere_are_refused() -> None:
    [said] = all_well(launch(planned_without_room, 1))
    assert re.match(r"TorchRec's planner finds no place for the tables \(.+\); start more processes, or keep", said), (
        said
    )


# Trainings

OPTIMIZERS = {"dlrm": "rowwise_adagrad", "deepfm": "adagrad", "wide_deep": "sgd", "dhen": "rowwise_adagrad"}
CASES = [
    Case(
        model,
        dtype=torch.float32,
        settings={"optimizer": one, "embedding_lr": 0.05, "tables": "torchrec", "evals_per_epoch": 2, "patience": 9},
    )
    for model, one in OPTIMIZERS.items()
]
AUC = (0.5, 0.4, 0.3, 0.6)
"""The rates fall twice, and the last weights are the best ones."""


def in_memory(case: Case) -> Case:
    return replace(case, settings={**case.settings, "tables": "memory"})


def trained(
    team: Team, cases: Sequence[Case], folder: Path, runs: Path | None = None, epochs: int = 2
) -> list[tuple[list[float], dict[str, np.ndarray], dict[str, Any]]]:
    """Losses by step, weights and what the optimisers remember, of each case; gone on with where ``runs`` has more."""
    answers = []
    for place, case in enumerate(cases):
        losses: list[float] = []
        more = replace(case, settings={**case.settings, "epochs": epochs})
        made = trainer(team, more, folder, losses, folder=None if runs is None else runs / str(place))
        made._evaluate = lambda model, made=made: {"auc": AUC[made._at.evaluations]}  # type: ignore[misc]  # a method of this one object
        made.fit(resume=True)
        assert made._plateau is not None and made._at.evaluations == 2 * epochs
        weights = {name: one.numpy().copy() for name, one in made.model.state_dict().items()}
        answers.append((losses, weights, remembered(made)))
    return answers


def remembered(made: Trainer) -> dict[str, Any]:
    parts = made.training["optimizers"]
    return {
        f"{part}/{index}/{name}": value.numpy().copy()
        for part, one in parts.items()
        for index, state in one["state"].items()
        for name, value in state.items()
        if value is not None
    }


def trained_by_kind(team: Team, cases: Sequence[Case], folder: Path) -> list[Any]:
    answers = []
    for torchrec_tables.KINDS in KINDS:
        answers += trained(team, cases, folder)
    return answers


def check_same_training(found: Any, expected: Any, case: Case) -> None:
    """Within the project's limits, each tensor by itself."""
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=0, err_msg=f"{case}")
    for some, others in zip(found[1:], expected[1:], strict=True):
        assert some.keys() == others.keys()
        for name, value in others.items():
            gap = np.linalg.norm(some[name] - value) / max(np.linalg.norm(value), 1e-30)
            assert gap < 1e-5, f"{case}: {name} differs by {gap}"


@needs_torchrec
@pytest.mark.parametrize("size", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
def test_they_train_what_one_process_trains_in_memory(size: int, folder: Path) -> None:
    answers = all_well(launch(trained_by_kind, size, CASES, folder))[0]
    expected = trained(ALONE, [in_memory(case) for case in CASES], folder)
    for place, case in enumerate(CASES):
        for kind in range(len(KINDS)):
            check_same_training(answers[place + kind * len(CASES)], expected[place], case)


def all_models(team: Team, folder: Path) -> dict[str, list[list[float]]]:
    """Losses of each model that has such tables, in memory and by TorchRec."""
    found: dict[str, list[list[float]]] = {}
    for name, kind in CATALOGUE.items():
        fields = {"embedding_dim": 4, "dropout": 0.0}
        sizes = SIZES.get(name) or {one: value for one, value in fields.items() if one in kind.config_type.model_fields}
        if issubclass(kind, Solved) or "embedding_dim" not in sizes:
            continue
        SIZES[name] = sizes
        for tables in ("memory", "torchrec"):
            settings = {"optimizer": "adagrad", "tables": tables, "epochs": 1}
            losses: list[float] = []
            trainer(team, Case(name, dtype=torch.float32, settings=settings), folder, losses).fit()
            found.setdefault(name, []).append(losses)
    return found


@needs_torchrec
def test_every_model_trains_with_them(folder: Path) -> None:
    [found] = all_well(launch(all_models, 1, folder))
    assert len(found) > 20
    for name, (in_memory, fused) in found.items():
        np.testing.assert_allclose(fused, in_memory, rtol=1e-6, err_msg=name)


@needs_torchrec
def test_the_dense_part_beside_them_may_be_sharded(folder: Path) -> None:
    sharded = replace(CASES[-1], settings={**CASES[-1].settings, "mesh": "1x2"})
    found = all_well(launch(trained, 2, [sharded], folder))[0]
    check_same_training(found[0], trained(ALONE, [in_memory(CASES[-1])], folder)[0], sharded)


def resharded(team: Team, folder: Path, runs: Path) -> list[list[Any]]:
    """What one process in memory saved, loaded and gone on with; then an epoch of their own, saved."""
    torchrec_tables.KINDS = ("row_wise",)
    loaded = trained(team, CASES, folder, runs / "plain", 1)
    return [loaded, trained(team, CASES, folder, runs / "plain", 2), trained(team, CASES, folder, runs / "two", 1)]


def load_two(team: Team, folder: Path, runs: Path) -> list[Any]:
    torchrec_tables.KINDS = ("table_wise",)
    return trained(team, CASES, folder, runs / "two", 1)


@needs_torchrec
def test_checkpoints_go_from_memory_to_torchrec_and_back(folder: Path, tmp_path: Path) -> None:
    plain = [in_memory(case) for case in CASES]
    first = trained(ALONE, plain, folder, tmp_path / "plain", 1)
    loaded, gone_on, own = all_well(launch(resharded, 2, folder, tmp_path))[0]
    by_one = all_well(launch(load_two, 1, folder, tmp_path))[0]
    again = trained(ALONE, plain, folder, tmp_path / "two", 1)
    further = trained(ALONE, plain, folder, tmp_path / "two", 2)
    straight = trained(ALONE, plain, folder)
    for place, case in enumerate(CASES):
        for found, saved in ((loaded, first), (by_one, own), (again, own)):
            assert not found[place][0], "only loaded"
            for some, others in zip(found[place][1:], saved[place][1:], strict=True):
                assert some.keys() == others.keys()
                for name, value in others.items():
                    np.testing.assert_array_equal(some[name], value, f"{case}: {name}")
        for found in (gone_on, further):
            check_same_training(found[place], (straight[place][0][5:], *straight[place][1:]), case)
    saved = sorted(path.name for path in (tmp_path / "two" / "0").glob("checkpoint-*/*"))
    assert {name for name in saved if name.startswith("pieces")} >= {"pieces-0-of-2.safetensors"}
    assert all(name.endswith((".safetensors", ".json")) for name in saved), "nothing is a pickle"


def meet_no_number(team: Team, folder: Path) -> tuple[str, bool]:
    """What is said at a loss that is not finite, and whether the tables are as they were before that step."""
    made = trainer(team, CASES[0], folder, [])
    inner, before = made._objective, []

    def objective(called: Any, batch: Any) -> Any:
        loss = inner(called, batch)
        if made._at.step == 2:
            before.extend(rows.detach().clone() for _, rows in made._spread.weights())
            return loss * float("nan") if team.is_first else loss
        return loss

    made._objective = objective
    try:
        made.fit()
    except NotFiniteError as error:
        after = [rows for _, rows in made._spread.weights()]
        return str(error), all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    return "it went on", False


@needs_torchrec
def test_a_loss_that_is_not_finite_changes_no_row(folder: Path) -> None:
    for message, is_same in all_well(launch(meet_no_number, 2, folder)):
        assert message.startswith("step 3: the numbers are not finite") and "changed no weight" in message
        assert is_same
