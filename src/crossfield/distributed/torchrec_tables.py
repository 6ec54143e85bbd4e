"""Tables that TorchRec holds: laid out by its planner, updated by FBGEMM's kernels while the backward pass runs.

The only file that knows of TorchRec, which it imports when it is asked for such a table. ``crossfield[torchrec]``
brings the build for GPUs; how to test without one: docs/decisions/010-torchrec.md.
"""

import atexit
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from crossfield.distributed.sharded import for_each_id
from crossfield.distributed.team import Team
from crossfield.errors import ConfigError, MissingExtraError
from crossfield.layers.embedding import EmbeddingArena, Found, find
from crossfield.optim import Adagrad, LazyAdam, OptimConfig, RowwiseAdagrad, parameter_groups

# A row whole on one process, or the whole table: by columns every shard would keep a row statistic of its own, which
# is another row-wise Adagrad, and pieces of checkpoints are rows.
KINDS = ("table_wise", "row_wise")
"""How the planner may lay a table out."""
_WIDTH = 4
"""FBGEMM reads four numbers at a time: other widths stay with Crossfield."""
_RESERVED = 0.15
"""Share of each device's memory that the planner leaves free for the dense part and for what is sent."""


@dataclass(frozen=True)
class _Kernel:
    """An optimiser of FBGEMM, and ours that computes the same."""

    name: str
    like: Any
    remembers: tuple[str, ...]
    """What ours calls the states, in FBGEMM's order."""


# Formulas and places of epsilon are the same, Adam's too (after the bias correction); the tests compare all but Adam,
# which FBGEMM has for GPUs only.
_KERNELS = {
    "lazy_adam": _Kernel("ADAM", LazyAdam, ("exp_avg", "exp_avg_sq")),
    "rowwise_adagrad": _Kernel("EXACT_ROWWISE_ADAGRAD", RowwiseAdagrad, ("sum",)),
    "adagrad": _Kernel("EXACT_ADAGRAD", Adagrad, ("sum",)),
    "sgd": _Kernel("EXACT_SGD", torch.optim.SGD, ()),
}


@dataclass(frozen=True)
class FusedTables:
    """What is asked of the tables that TorchRec holds."""

    config: OptimConfig
    batch_size: int
    cache: float | None = None
    """Share of the rows on the GPU where the tables are in host memory."""

    def arenas(self, model: nn.Module) -> list[EmbeddingArena]:
        """Which of a model's tables they are: embeddings of a width that FBGEMM has, not those of a wide part."""
        groups = parameter_groups(model, split_wide=self.config.wide_optimizer != "same")
        embeddings = {id(weight) for weight in groups.get("embedding", [])}
        arenas = (module for module in model.modules() if isinstance(module, EmbeddingArena))
        return [one for one in arenas if id(one.weight) in embeddings and one.dim % _WIDTH == 0]

    def device(self, model: nn.Module) -> str:
        """The kind of device on which they will be; raises ConfigError where the model has none of them."""
        for arena in self.arenas(model):
            return arena.offsets.device.type
        raise ConfigError(
            f'train.tables = "torchrec" is for embeddings of a width that {_WIDTH} divides, and this model has none; '
            f'change its embedding_dim, or set train.tables to "memory"'
        )

    def check(self, device: str) -> None:
        """Raise ConfigError where fused updates cannot do what is asked, and as ``check_versions``."""
        config = self.config
        for name, value in (("embedding_l2", config.embedding_l2), ("clip_norm", config.clip_norm)):
            if value:
                raise ConfigError(
                    f'train.{name} = {value:g} needs the gradients of tables, and with train.tables = "torchrec" there '
                    f'are none: rows change inside the backward pass; leave it out, or set train.tables to "memory"'
                )
        if config.optimizer not in _KERNELS:
            raise ConfigError(
                f'train.optimizer = "{config.optimizer}" changes whole tables at every step, which TorchRec has not; '
                f"take {' or '.join(_KERNELS)}"
            )
        if config.table_state != "fp32":
            raise ConfigError(f'train.table_state = "{config.table_state}" is not for train.tables = "torchrec"')
        if device.startswith("cpu"):
            self._check_cpu()
        check_versions()

    def _check_cpu(self) -> None:
        if self.config.optimizer == "lazy_adam":
            raise ConfigError(
                'train.optimizer = "lazy_adam" with train.tables = "torchrec" is for a GPU: FBGEMM has no Adam for a '
                "CPU; take rowwise_adagrad, adagrad or sgd"
            )
        if self.cache is not None:
            raise ConfigError("train.table_cache keeps rows on a GPU, and this is a CPU; leave it out")


def check_versions() -> None:
    """Raise MissingExtraError where TorchRec or FBGEMM is missing, ConfigError where they and torch do not fit."""
    torchrec, found = _version("torchrec"), {name: _version(name) for name in ("fbgemm-gpu", "fbgemm-gpu-cpu")}
    if torchrec is None:
        raise MissingExtraError("torchrec", "torchrec")
    fbgemm = next((name for name, one in found.items() if one is not None), None)
    if fbgemm is None:
        raise MissingExtraError("fbgemm-gpu, without which torchrec cannot be imported,", "torchrec")
    wanted = partner(torch.__version__)
    installed = {"torchrec": torchrec, fbgemm: str(found[fbgemm])}
    if any(_minor(one) != wanted for one in installed.values()):
        named = ", ".join(f"{name} {one}" for name, one in installed.items())
        asked = " ".join(f"'{name}=={wanted}.*'" for name in installed)
        raise ConfigError(
            f"{named} and torch {torch.__version__} are not built for each other, and nothing that pip reads says so; "
            f"torch {_minor(torch.__version__)} goes with {wanted} of both: pip install --no-deps {asked}"
        )


def partner(torch_version: str) -> str:
    """The release of TorchRec and FBGEMM that is built for a release of torch: 1.8 for 2.13.

    FBGEMM lists them (``_fbgemm_torch_compat_table`` in its ``__init__``): 1.n for 2.(n + 5), from 1.0 to 1.9.
    """
    major, minor = _minor(torch_version).split(".")
    return f"{int(major) - 1}.{int(minor) - 5}"


def _minor(release: str) -> str:
    return ".".join(release.split(".")[:2])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class _ForEachId(torch.autograd.Function):
    """The vectors of distinct rows, for each id that names them; the gradient is summed over ids before it is sent."""

    @staticmethod
    def forward(ctx: FunctionCtx, vectors: Tensor, found: Found, arena: "TorchRecArena") -> Tensor:
        ctx.found, ctx.arena = found, arena  # type: ignore[attr-defined]  # attributes of our own
        return vectors.index_select(0, for_each_id(found, torch.arange(len(vectors), device=vectors.device)))

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        ctx.arena.end_step()  # type: ignore[attr-defined]  # an attribute of our own
        return ctx.found.sums(gradient.contiguous()), None, None  # type: ignore[attr-defined]  # of our own


@dataclass(frozen=True)
class _Shard:
    """Rows of one field that are here: one of the tables of a kernel."""

    rows: range
    kernel: Any
    place: int

    def weights(self) -> Tensor:
        """[rows, D], a view."""
        weights: Tensor = self.kernel.split_embedding_weights()[self.place]
        return weights

    def states(self) -> list[Tensor]:
        """What the optimiser remembers of them, [rows] or [rows, D] each, views."""
        states = self.kernel.split_optimizer_states()
        return list(states[self.place]) if states else []


class TorchRecArena(EmbeddingArena):
    """An arena whose rows TorchRec holds, each field in a table of its own; to its users it is the whole table.

    Rows change inside the backward pass, by the optimiser of the config. So ``weight`` has no rows and never a
    gradient: it stands for them in the list of parameters, and a state dict has those ``held`` here in its place. Every
    lookup is an exchange: all processes have to make the same ones, with whatever rows, even none.
    """

    edges: Tensor

    def __init__(self, whole: EmbeddingArena, team: Team, fused: FusedTables) -> None:
        _import()
        nn.Module.__init__(self)
        self.num_rows, self.dim, self.std = whole.num_rows, whole.dim, whole.std
        self.sparse, self.lookups, self.on_disk, self.team = True, 0, False, team
        self.register_buffer("offsets", whole.offsets, persistent=False)
        self.register_buffer("edges", F.pad(whole.offsets, (0, 1), value=sum(self.num_rows)), persistent=False)
        self.weight = nn.Parameter(torch.empty(0, self.dim, device=self.offsets.device))
        self.names = [f"field{index}" for index in range(len(self.num_rows))]
        self._kernel = _KERNELS[fused.config.optimizer]
        # In a list, so that it is no submodule: what TorchRec lists as parameters, other optimisers must not see.
        self._sharded = [_sharded(self, fused, _fused_params(fused.config, self._kernel, self.weight))]
        self._shards = sorted(self._find_shards(), key=lambda one: one.rows.start)
        self.held = tuple(one.rows for one in self._shards)
        self._optimizer: torch.optim.Optimizer | None = None
        self._steps, self._is_in_step = 0, False
        for rows, place in zip(self.held, self.shards(), strict=True):
            place.copy_(whole.weight.detach()[rows.start : rows.stop])

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Follow the learning rate of the optimiser that has ``weight``."""
        self._optimizer = optimizer

    # Lookups

    def read(self, rows: Tensor, found: Found | None) -> Tensor:
        """Vectors [n, D] of arena rows [n] int64; raises ConfigError at a second lookup in the same step."""
        found = found or self.find(rows)
        if self.seeks:
            self._begin_step()
        looked_up: Tensor = _ForEachId.apply(self._look_up(found.distinct), found, self)  # type: ignore[no-untyped-call]  # torch does not type it
        return looked_up

    def find(self, rows: Tensor, names: tuple[str, ...] = ()) -> Found:
        """What a batch names."""
        return find(rows, sum(self.num_rows), names=names)

    def _look_up(self, distinct: Tensor) -> Tensor:
        """Vectors [m, D] of distinct rows [m] int64, which rise: so they are in the order of the fields."""
        from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

        lengths = torch.searchsorted(distinct, self.edges).diff()
        ids = distinct - torch.repeat_interleave(self.offsets, lengths, output_size=len(distinct))
        # FBGEMM's operators are functions with a gradient and nothing else: in inference mode there are none.
        with torch.inference_mode(False), torch.set_grad_enabled(self.seeks):
            asked = KeyedJaggedTensor(
                keys=self.names, values=ids.clone(), lengths=lengths.to(torch.int32, copy=True), stride=1
            )
            # By name: in which order TorchRec returns the tables depends on its plan.
            found = self._sharded[0](asked).wait()
            return torch.cat([found[name].values() for name in self.names])

    def _begin_step(self) -> None:
        if self._is_in_step:
            raise ConfigError(
                'this model looks a table up twice in a step, and with train.tables = "torchrec" its rows would change '
                'twice; set train.tables to "memory"'
            )
        self.lookups, self._is_in_step = self.lookups + 1, True
        for kernel in self._kernels():
            if self._optimizer is not None:
                kernel.set_learning_rate(self._optimizer.param_groups[0]["lr"])
            if self._kernel.like is LazyAdam:
                # It counts evaluations too, and Adam's bias correction would believe it.
                kernel.iter_cpu.fill_(self._steps)
                kernel.iter.fill_(self._steps)

    def end_step(self) -> None:
        """The gradients of a lookup are on their way: it will have been a step."""
        self._steps, self._is_in_step = self._steps + 1, False

    # Rows

    def view(self, start: int, stop: int) -> Tensor:
        """Not of a table that is elsewhere; raises TypeError."""
        raise TypeError("the rows of a table that TorchRec holds can be looked up, not viewed")

    def average(self, start: int, stop: int) -> Tensor:
        """The mean of some rows, [D], wherever they are."""
        total = self.weight.new_zeros(self.dim, dtype=torch.float64)
        for rows, values in zip(self.held, self.shards(), strict=True):
            first, last = (max(0, edge - rows.start) for edge in (start, stop))
            total += values[first:last].sum(0, dtype=torch.float64)
        return (self.team.add_up(total) / (stop - start)).to(self.weight.dtype)

    def overwrite(self, rows: Sequence[int], vector: Tensor) -> None:
        """Set rows to one vector [D], where they are."""
        for held, values in zip(self.held, self.shards(), strict=True):
            for row in rows:
                if row in held:
                    values[row - held.start] = vector
        self._forget_cached()

    def shards(self) -> list[Tensor]:
        """The rows that are here, a view [*, D] for each part of ``held``."""
        for kernel in self._kernels():
            kernel.flush()  # what a GPU has cached; else nothing
        return [one.weights() for one in self._shards]

    # States

    def memory(self) -> dict[str, Any]:
        """What the optimiser remembers of the rows that are here, named as ours names it."""
        states = list(zip(*(one.states() for one in self._shards), strict=True))
        if not states:
            # A process without a row: what the states of no rows look like.
            shapes = [(0, self.dim) if self._kernel.like is not RowwiseAdagrad else (0,)] * len(self._kernel.remembers)
            states = [(torch.zeros(shape),) for shape in shapes]
        memory = {name: self._joined(parts) for name, parts in zip(self._kernel.remembers, states, strict=True)}
        return memory | ({"steps": torch.tensor(float(self._steps))} if self._kernel.like is LazyAdam else {})

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what ``memory`` gave; of nothing, nothing."""
        self._steps = int(memory.get("steps", 0))
        for index, name in enumerate(self._kernel.remembers):
            if name in memory:
                self._part(memory[name], [one.states()[index] for one in self._shards])

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self._joined(self.shards())

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self._part(state_dict[prefix + "weight"], self.shards())
        self._forget_cached()

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        """A copy in host memory: a GPU may not have room for one."""
        return torch.cat([one.cpu() for one in parts]) if parts else torch.empty(0, self.dim)

    def _part(self, joined: Tensor, places: Sequence[Tensor]) -> None:
        """The reverse, into these places."""
        for value, place in zip(torch.split(joined, [len(one) for one in self.held]), places, strict=True):
            place.copy_(value)

    def _forget_cached(self) -> None:
        for kernel in self._kernels():
            kernel.reset_cache_states()

    def _kernels(self) -> list[Any]:
        return list({id(one.kernel): one.kernel for one in self._shards}.values())

    def _find_shards(self) -> Iterator[_Shard]:
        starts = dict(zip(self.names, self.offsets.tolist(), strict=True))
        for lookup in self._sharded[0]._lookups:
            for group in lookup._emb_modules:
                for place, table in enumerate(group.config.embedding_tables):
                    start = starts[table.name] + table.local_metadata.shard_offsets[0]
                    yield _Shard(range(start, start + table.local_rows), group.emb_module, place)

    @property
    def layout(self) -> list[str]:
        """How the planner has laid out each field: one of ``KINDS``."""
        return [self._sharded[0].module_sharding_plan[name].sharding_type for name in self.names]


def _fused_params(config: OptimConfig, kernel: _Kernel, weight: nn.Parameter) -> dict[str, Any]:
    from fbgemm_gpu.split_embedding_configs import EmbOptimType

    known = kernel.like([weight]).defaults
    betas = dict(zip(("beta1", "beta2"), known.get("betas", ()), strict=False))
    return {
        "optimizer": EmbOptimType[kernel.name],
        "learning_rate": config.embedding_lr or config.lr,
        **{name: known[name] for name in ("eps",) if name in known},
        **betas,
    }


def _sharded(arena: TorchRecArena, fused: FusedTables, fused_params: dict[str, Any]) -> Any:
    """TorchRec's tables of an arena, a field each, planned by all processes together; no row is set yet."""
    from torchrec.distributed.comm_ops import set_gradient_division
    from torchrec.distributed.embedding import EmbeddingCollectionSharder
    from torchrec.distributed.types import ShardingEnv
    from torchrec.modules.embedding_configs import EmbeddingConfig
    from torchrec.modules.embedding_modules import EmbeddingCollection

    # TorchRec would divide by the number of processes; our losses are means over the global batch already.
    set_gradient_division(False)
    group = _group(arena.team, arena.offsets.device)
    configs = [
        EmbeddingConfig(num_embeddings=rows, embedding_dim=arena.dim, name=name, feature_names=[name])
        for name, rows in zip(arena.names, arena.num_rows, strict=True)
    ]
    tables = EmbeddingCollection(tables=configs, device=torch.device("meta"))
    sharder = EmbeddingCollectionSharder(fused_params=fused_params)
    plan = _plan(arena, fused, tables, sharder, group)
    return sharder.shard(tables, plan, ShardingEnv.from_process_group(group), arena.offsets.device)


def _plan(arena: TorchRecArena, fused: FusedTables, tables: nn.Module, sharder: Any, group: dist.ProcessGroup) -> Any:
    """Where each table lies; raises ConfigError where the planner finds no place for them."""
    from torchrec.distributed.embedding_types import EmbeddingComputeKernel
    from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints
    from torchrec.distributed.planner.storage_reservations import FixedPercentageStorageReservation
    from torchrec.distributed.planner.types import KernelConfig, PlannerError, TopologyFactory, TrainerConfig
    from torchrec.distributed.types import CacheParams

    team, device, is_cached = arena.team, arena.offsets.device, fused.cache is not None
    kernel = EmbeddingComputeKernel.FUSED_UVM_CACHING if is_cached else EmbeddingComputeKernel.FUSED
    asked = ParameterConstraints(
        sharding_types=list(KINDS),
        compute_kernels=[kernel.value],
        cache_params=CacheParams(load_factor=fused.cache) if is_cached else None,
    )
    machine = TrainerConfig(
        world_size=team.size,
        local_world_size=team.local_size,
        hbm_cap_bytes=torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None,
        ddr_cap_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // team.local_size,
    )
    planner = EmbeddingShardingPlanner(
        topology=TopologyFactory.create_topology(machine, kernel_config=KernelConfig(compute_device=device.type)),
        batch_size=-(-fused.batch_size // team.size),
        storage_reservation=FixedPercentageStorageReservation(_RESERVED),
        constraints=dict.fromkeys(arena.names, asked),
    )
    try:
        return planner.collective_plan(tables, [sharder], group).plan[""]
    except PlannerError as error:
        raise ConfigError(
            f"TorchRec's planner finds no place for the tables ({str(error).strip().splitlines()[0]}); start more "
            f"processes, or keep the tables in host memory (train.table_cache)"
        ) from None


def _group(team: Team, device: torch.device) -> dist.ProcessGroup:
    """The processes of a team, for TorchRec, which wants a group also of one."""
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        store = dist.HashStore()  # type: ignore[attr-defined]  # torch names it in no list
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
        atexit.register(dist.destroy_process_group)
    group = dist.group.WORLD
    if group is None or group.size() != team.size:
        raise ConfigError("torch.distributed is initialised already; leave that to crossfield")
    return group


def _import() -> None:
    """Import TorchRec, some seconds of work, without what its parts have to tell each other; as ``check_versions``."""
    check_versions()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torchrec  # noqa: F401  # registers what its parts below need
    # It asks torch at every lookup what torch then, once, begs all to ask otherwise.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
