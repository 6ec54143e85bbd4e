"""Several processes train what one trains: the same losses, the same weights, the same files."""

import os
import re
import signal
import time
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossfield import train
from crossfield.acceleration import Means
from crossfield.batch import Batch
from crossfield.data.encode import Encoded
from crossfield.data.store import Reader, Store, write_store
from crossfield.distributed import spread
from crossfield.distributed.sharded import ShardedArena
from crossfield.distributed.team import ALONE, Team
from crossfield.errors import ConfigError, CorruptError, RunError
from crossfield.models import CATALOGUE
from crossfield.schema import Field, Kind, ModelSchema
from crossfield.train import TrainConfig, Trainer
from tests.distributed.launch import all_well, launch

BATCH, NUM_ROWS = 16, 4 * 16 + 1  # of the last batch only the first process has a row
SCHEMA = ModelSchema(
    dense=("price", "age"),
    categorical=(Field("user", 1003), Field("item", 58), Field("page", 12)),
    sequences=(Field("genres", 7, Kind.MULTI),),
    user="user",
    item="item",
)
SIZES: dict[str, dict[str, Any]] = {
    "dhen": {
        "embedding_dim": 4,
        "bottom": (6,),
        "top": (8,),
        "dot": (8,),
        "layers": (("dot", "linear"), ("dot", "attention")),
    },
    "dlrm": {"embedding_dim": 4, "bottom": (6, 4), "top": (8,)},
    "deepfm": {"embedding_dim": 4, "deep": (8, 8)},
    "wide_deep": {"embedding_dim": 4, "deep": (8,)},
    "fcn": {"embedding_dim": 4},
}


@dataclass(frozen=True)
class Case:
    """One training, to be done by one process and by several."""

    model: str = "deepfm"
    dtype: torch.dtype = torch.float64
    weighted: bool = False
    small_table: int = 0
    """Bytes up to which tables are replicated."""
    settings: dict[str, Any] = field(default_factory=dict)
    sizes: dict[str, Any] = field(default_factory=dict)


def encoded() -> Encoded:
    random = np.random.default_rng(0)
    items, lengths = random.integers(2, 58, NUM_ROWS), random.integers(0, 3, NUM_ROWS)
    users = np.minimum(random.zipf(1.3, NUM_ROWS) + 1, 1002)
    genres = random.integers(2, 7, lengths.sum()).astype(np.int32)
    return Encoded(
        dense=random.normal(size=(NUM_ROWS, 2)).astype(np.float32),
        categorical=np.stack([users, items, random.integers(2, 12, NUM_ROWS)], 1).astype(np.int32),
        sequences={"genres": (genres, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))},
        labels=(items % 2).astype(np.float32),
        weights=random.uniform(0.5, 2, NUM_ROWS).astype(np.float32),
        groups=np.zeros(NUM_ROWS, dtype=np.int64),
        rows=np.arange(NUM_ROWS),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_store([encoded()], folder, model_schema=SCHEMA, fingerprint="f")
    return folder


@dataclass
class Typed:
    """A store's rows with numbers of another type."""

    store: Store
    case: Case

    def batch(self, rows: np.ndarray) -> Batch:
        batch = self.store.batch(rows)
        weights = batch.weights.to(self.case.dtype) if self.case.weighted and batch.weights is not None else None
        return replace(batch, dense=batch.dense.to(self.case.dtype), weights=weights)


def trainer(team: Team, case: Case, rows: Path, losses: list[float], **more: Any) -> Trainer:
    """A trainer that writes down the loss of each step."""
    spread.SMALL_TABLE = case.small_table
    store = Store.open(rows, verify=False)
    config = TrainConfig.of({"batch_size": BATCH, "epochs": 2, "lr": 0.02, "precision": "fp32", **case.settings})
    torch.manual_seed(config.seed)
    kind = CATALOGUE[case.model]
    model = kind(SCHEMA, kind.config_type(**{**SIZES[case.model], **case.sizes})).to(case.dtype)
    reader = Reader(store, batch_size=BATCH, seed=config.seed, rank=team.rank, world=team.size)
    reader.source = Typed(store, case)
    made = Trainer(model, reader, config, team=team, **more)
    inner = made._objective

    def objective(called: nn.Module, batch: Batch) -> Tensor:
        loss = inner(called, batch)
        losses.append(loss.item())
        return loss

    made._objective = objective
    return made


def trained(team: Team, case: Case, folder: Path) -> tuple[list[float], dict[str, np.ndarray], list[int]]:
    """Losses by step, weights (the first process's are whole), and rows of the tables that are held here."""
    losses: list[float] = []
    made = trainer(team, case, folder, losses)
    held = [len(one.weight) for one in made.model.modules() if isinstance(one, ShardedArena)]
    made.fit()
    return losses, {name: one.numpy().copy() for name, one in made.model.state_dict().items()}, held


def all_trained(team: Team, cases: list[Case], folder: Path) -> list[Any]:
    return [trained(team, case, folder) for case in cases]


L2_AND_CLIP = {"embedding_l2": 0.01, "net_l2": 0.01, "clip_norm": 0.05}
OPTIMIZERS = {
    "dhen": ("lazy_adam",),
    "dlrm": ("rowwise_adagrad", "sgd"),
    "deepfm": ("adam", "adagrad"),
    "wide_deep": ("lazy_adam",),
}
CASES = [
    *(Case(model, settings={"optimizer": one, **L2_AND_CLIP}) for model, some in OPTIMIZERS.items() for one in some),
    # A bias before a batch norm has no gradient but noise, which Adam would blow up: SGD.
    Case("deepfm", weighted=True, sizes={"batch_norm": True}, settings={"optimizer": "sgd"}),
    Case("fcn", weighted=True, sizes={"batch_norm": True}, settings={"optimizer": "sgd"}),
    Case("wide_deep", small_table=1000, settings={"wide_optimizer": "adagrad", "clip_norm": 0.05}),
    Case("deepfm", small_table=1 << 20, settings=L2_AND_CLIP),
    Case("deepfm", dtype=torch.float32),
]


def test_two_processes_train_what_one_trains(folder: Path) -> None:
    answers = all_well(launch(all_trained, 2, CASES, folder))
    for place, case in enumerate(CASES):
        losses, weights, _ = trained(ALONE, case, folder)
        tolerance = 1e-9 if case.dtype == torch.float64 else 1e-5
        for rank, answer in enumerate(answers):
            assert len(answer[place][0]) == 10
            np.testing.assert_allclose(answer[place][0], losses, rtol=tolerance / 10, atol=0, err_msg=f"{case}, {rank}")
        for name, weight in weights.items():
            gap = np.linalg.norm(answers[0][place][1][name] - weight) / max(np.linalg.norm(weight), 1e-30)
            assert gap < tolerance, f"{case}: {name} differs by {gap}"


def test_large_tables_are_shared_out_and_small_ones_are_not(folder: Path) -> None:
    model = CATALOGUE["wide_deep"](SCHEMA, CATALOGUE["wide_deep"].config_type(embedding_dim=4, deep=(8,)))
    num_rows = sum(one.num_rows for one in SCHEMA.fields)
    spread.SMALL_TABLE = 4 * num_rows  # the wide part's, of one number a row
    made = spread.Spread(model, Team(1, 4), (4, 1))
    [arena] = [one for one in made.model.modules() if isinstance(one, ShardedArena)]
    assert arena.dim == 4 and list(arena.held) == list(range(1, num_rows, 4))
    assert len(model.features.ids.arena.weight) == 0, "nobody holds all of it meanwhile"
    assert len(made.model.wide.ids.arena.weight) == len(model.wide.ids.arena.weight) == num_rows


def test_the_mesh_is_as_asked_or_fits_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CATALOGUE["deepfm"](SCHEMA, CATALOGUE["deepfm"].config_type(embedding_dim=4, deep=(8,)))
    team = Team(0, 8, local_rank=0, local_size=4)
    assert spread.choose_mesh("auto", team, model) == (8, 1)
    assert spread.choose_mesh("2x4", team, model) == (2, 4)
    monkeypatch.setattr(spread, "SMALL_NET", 100)
    assert spread.choose_mesh("auto", team, model) == (2, 4)
    with pytest.raises(ConfigError, match=r"4x4.* is for 16 processes and there are 8; start so many with torchrun"):
        spread.choose_mesh("4x4", team, model)


def test_rows_are_picked_from_pieces_of_any_kind() -> None:
    whole = torch.arange(22).view(11, 2)
    cyclic = [(whole[rank::4], (range(rank, 11, 4),)) for rank in range(4)]
    blocks = [(whole[0:6], (range(0, 6),)), (whole[0:0], (range(0),)), (whole[0:0], ()), (whole[6:], (range(6, 11),))]
    several = [
        (whole[[0, 1, 2, 7, 8]], (range(0, 3), range(7, 9))),
        (whole[[3, 4, 5, 6, 9, 10]], (range(3, 7), range(9, 11))),
    ]
    wanted = [(range(11),), (range(1, 11, 3),), (range(5, 9),), (range(11, 11),), (), (range(2, 5), range(8, 10))]
    for pieces, rows in product((cyclic, blocks, several), wanted):
        assert torch.equal(spread.pick(pieces, rows), whole[[row for run in rows for row in run]])


def test_rows_that_no_piece_holds_are_an_error_not_whatever_was_in_memory() -> None:
    whole = torch.arange(22).view(11, 2)
    even = [(whole[::2], (range(0, 11, 2),))]
    assert torch.equal(spread.pick([*even, *even], (range(0, 11, 4),)), whole[::4])
    for pieces in (even, [*even, *even]):
        with pytest.raises(CorruptError, match="5 of 11 rows are in none of the pieces"):
            spread.pick(pieces, (range(11),))


def test_what_one_process_does_is_refused(folder: Path) -> None:
    for settings in ({"compile": "on"}, {"cuda_graph": True}, {"tables": "disk"}):
        with pytest.raises(ConfigError, match=r"is for one process; (leave it out|several hold)"):
            trainer(Team(0, 2), Case(settings=settings), folder, [])
    with pytest.raises(ConfigError, match="without torchrun"):
        trainer(Team(0, 2), Case(), folder, [], start={})


def rising(made: Trainer, _: nn.Module) -> dict[str, float]:
    """An evaluation that is better every time, so that the best weights are kept and saved."""
    return {"auc": made._at.step / 100}


def one_epoch_more(team: Team, cases: list[Case], folder: Path, runs: Path, epochs: int) -> list[Any]:
    """Go on with each case's checkpoint up to an epoch; weights then, and the losses on the way."""
    answers = []
    for place, case in enumerate(cases):
        losses: list[float] = []
        more = replace(case, settings={**case.settings, "epochs": epochs})
        made = trainer(team, more, folder, losses, folder=runs / str(place))
        made._evaluate = partial(rising, made)
        made.fit(resume=True)
        answers.append((losses, {name: one.numpy().copy() for name, one in made.model.state_dict().items()}))
    return answers


def resharded(team: Team, cases: list[Case], folder: Path, runs: Path) -> list[list[Any]]:
    """What one process saved after an epoch, loaded and gone on with; then an epoch of their own, saved."""
    loaded = one_epoch_more(team, cases, folder, runs / "of one", 1)
    return [loaded, *(one_epoch_more(team, cases, folder, runs / of, to) for of, to in (("of one", 2), ("of all", 1)))]


def check_resharding(size: int, cases: list[Case], folder: Path, runs: Path) -> None:
    straight = [replace(case, settings={**case.settings, "mesh": "auto"}) for case in cases]
    first = one_epoch_more(ALONE, straight, folder, runs / "of one", 1)
    loaded, gone_on, own = all_well(launch(resharded, size, cases, folder, runs))[0]
    again = one_epoch_more(ALONE, straight, folder, runs / "of all", 1)
    further = one_epoch_more(ALONE, straight, folder, runs / "of all", 2)
    for place, case in enumerate(straight):
        losses, weights, _ = trained(ALONE, case, folder)
        assert not loaded[place][0] and not again[place][0], "only loaded"
        assert own[place][0] == pytest.approx(losses[:5]) and gone_on[place][0] == pytest.approx(losses[5:])
        assert further[place][0] == pytest.approx(losses[5:])
        for name, weight in weights.items():
            np.testing.assert_array_equal(loaded[place][1][name], first[place][1][name], f"{case}: {name}")
            np.testing.assert_array_equal(again[place][1][name], own[place][1][name], f"{case}: {name}")
            for other in (gone_on, further):
                np.testing.assert_allclose(other[place][1][name], weight, atol=1e-9, err_msg=f"{case}: {name}")


def test_a_checkpoint_of_one_is_gone_on_with_by_two_and_the_other_way_round(folder: Path, tmp_path: Path) -> None:
    cases = [Case("dhen", settings={"mesh": "1x2"}), Case("wide_deep", settings={"optimizer": "rowwise_adagrad"})]
    check_resharding(2, cases, folder, tmp_path)
    saved = sorted(path.name for path in (tmp_path / "of all" / "0").glob("checkpoint-*/*"))
    pieces = {name for name in saved if name.startswith("pieces")}
    assert pieces == {"pieces-0-of-2.safetensors", "pieces-1-of-2.safetensors"}
    assert set(saved) - pieces == {"manifest.json", "scalars.json", "tensors.safetensors"}, "nothing is a pickle"


def notes_of_resumed(team: Team, folder: Path, run: Path) -> tuple[str, ...]:
    train.compiled = refuse_to_compile
    return trainer(team, Case(settings={"epochs": 2}), folder, [], folder=run).fit(resume=True).notes


def refuse_to_compile(_: nn.Module) -> nn.Module:
    raise AssertionError("compiled for one process")


def test_several_processes_go_on_with_compiled_steps_as_they_are(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "choose_means", lambda *_, **__: (Means(1, False, compiled=True), ["", ""]))
    monkeypatch.setattr(train, "compiled", lambda module: module)
    trainer(ALONE, Case(settings={"epochs": 1}), folder, [], folder=tmp_path).fit()
    for notes in all_well(launch(notes_of_resumed, 2, folder, tmp_path)):
        assert {"not compiled", "the steps before were compiled"} <= set(notes)


def save_at_four(team: Team, cases: list[Case], folder: Path, runs: Path) -> list[Any]:
    return one_epoch_more(team, cases, folder, runs, 1)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_checkpoint_of_four_is_loaded_by_fewer_exactly(size: int, folder: Path, tmp_path: Path) -> None:
    cases = [Case(model, settings={"optimizer": one}) for model, some in OPTIMIZERS.items() for one in some]
    sharded = [replace(case, settings={**case.settings, "mesh": "2x2"}) for case in cases]
    saved = all_well(launch(save_at_four, 4, [*cases, *sharded], folder, tmp_path))[0]
    if size == 1:
        found = save_at_four(ALONE, [*cases, *cases], folder, tmp_path)
    else:
        found = all_well(launch(save_at_four, size, [*cases, *cases], folder, tmp_path))[0]
    for (losses, weights), (_, expected) in zip(found, saved, strict=True):
        assert not losses
        for name, weight in expected.items():
            np.testing.assert_array_equal(weights[name], weight)


def lose_one(team: Team, case: Case, folder: Path, how: str) -> tuple[str, float]:
    """Train until the second process is gone in the middle of a step; what the first says, and after how long."""
    made = trainer(team, case, folder, [])
    inner, began = made._objective, 0.0

    def objective(called: nn.Module, batch: Batch) -> Tensor:
        nonlocal began
        loss = inner(called, batch)
        if made._at.step == 3:
            began = time.monotonic()
            if not team.is_first:
                os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        return loss

    made._objective = objective
    try:
        made.fit()
    except RunError as error:
        return str(error), time.monotonic() - began
    return "it went on", 0.0


@pytest.mark.parametrize(("how", "most"), [("killed", 3.0), pytest.param("hung", 12.0, marks=pytest.mark.slow)])
def test_a_lost_process_is_an_error_within_the_time_and_says_what_to_do(how: str, most: float, folder: Path) -> None:
    [answer] = all_well(launch(lose_one, 2, Case(), folder, how, lost_seconds=6.0, lost=1))
    message, seconds = answer
    assert re.match(r"lost another process of this run \(.*\); start all of them again .* and --resume$", message), (
        message
    )
    assert seconds < most
