"""The processes of one run: what they send each other, what they agree on, and how they wait."""

import atexit
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from crossfield.errors import ConfigError, CrossfieldError, RunError

Value = TypeVar("Value")

_LOOK_SECONDS = 0.05
"""Between two looks whether what one waits for is there."""
_NAME = "crossfield/name"
"""Where the first process leaves the name of the team."""
_LOST = re.compile(r"\bgloo\b|nccl|connection (closed|reset|refused)|timed out|broken pipe|Dist\w+Error", re.IGNORECASE)
"""What torch's errors speak of where another process is gone."""


@dataclass
class Team:
    """The processes that train one model together, each with a rank below ``size``; by default there is only one.

    Whatever exchanges something must be called by all of them, in the same order. Where one is gone, or silent for
    ``train.lost_seconds``, torch raises a RuntimeError, which ``guarded`` says in plain words.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank on this machine."""
    local_size: int = 1
    """Processes on this machine."""
    store: Store | None = None
    """Where small messages are left for the others."""
    _told: int = field(default=0, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this process prepares, prints and writes for all."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.size == 1

    @property
    def is_on_one_machine(self) -> bool:
        """Whether all of them see the same local disks."""
        return self.size == self.local_size

    @property
    def name(self) -> str:
        """What a file of this process is called by: ``2-of-4``."""
        return f"{self.rank}-of-{self.size}"

    def device(self, name: str) -> str:
        """The device of this process: of ``cuda``, the GPU of its place on the machine."""
        return f"cuda:{self.local_rank}" if name == "cuda" and not self.is_alone else name

    # Tensors

    def add_up(self, values: Tensor) -> Tensor:
        """The sum of everybody's tensor, written into this one, which is returned; without gradient."""
        if not self.is_alone:
            dist.all_reduce(values)
        return values

    def any_of(self, flags: Tensor) -> Tensor:
        """Flags [*] bool that are set for anybody."""
        return flags if self.is_alone else self.add_up(flags.to(torch.int32)) > 0

    def total(self, part: Tensor) -> Tensor:
        """The sum of everybody's part; its gradient is that with respect to the part at hand (``losses.totals``)."""
        summed: Tensor = _Total.apply(part, self)  # type: ignore[no-untyped-call]  # torch does not type it
        return summed

    def pooled(self, part: Tensor) -> Tensor:
        """The sum of everybody's part, where everybody goes on with it: its gradient is the sum of all of theirs."""
        summed: Tensor = _Pooled.apply(part, self)  # type: ignore[no-untyped-call]  # torch does not type it
        return summed

    def exchange(self, rows: Tensor, *, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Rows [n, *], the first ``sent[0]`` for rank 0 and so on, against those that the others have for this one."""
        if self.is_alone:
            return rows
        got = rows.new_empty(sum(received), *rows.shape[1:])
        dist.all_to_all_single(got, rows.contiguous(), list(received), list(sent))
        return got

    def swap_counts(self, counts: Tensor) -> list[int]:
        """How many rows each of the others has for this one, of counts [size] int64 for each of them."""
        return self.exchange(counts, sent=[1] * self.size, received=[1] * self.size).tolist()

    def gather(self, rows: Tensor) -> Tensor:
        """Everybody's rows [*, D], however many each has, by rank."""
        counts = rows.new_tensor([len(rows)] * self.size, dtype=torch.int64)
        received = self.swap_counts(counts)
        return self.exchange(rows.repeat(self.size, *[1] * (rows.dim() - 1)), sent=counts.tolist(), received=received)

    # Words

    def agree(self, *votes: int) -> list[int]:
        """The sums of everybody's numbers; waits for no device."""
        return self.add_up(torch.tensor(votes, dtype=torch.int64)).tolist() if not self.is_alone else list(votes)

    def hear(self, words: Callable[[], Value]) -> Value:
        """What the first process says (JSON values), to all; the others wait for it as long as it takes.

        Where it raises a CrossfieldError, it is a RunError to the others.
        """
        if self.store is None:
            return words()
        self._told += 1
        key = f"crossfield/{self._told}"
        if self.is_first:
            return self._say(key, words)
        while not self.store.check([key]):
            time.sleep(_LOOK_SECONDS)
        said = json.loads(self.store.get(key))
        if "error" in said:
            raise RunError(f"stopped with the first process: {said['error']}")
        value: Value = said["value"]
        return value

    def lead(self, work: Callable[[], Value]) -> Value | None:
        """What the first process does alone; None on the others, which wait for its end as in ``hear``."""
        done: list[Value] = []
        self.hear(lambda: done.append(work()))
        return done[0] if done else None

    def _say(self, key: str, words: Callable[[], Value]) -> Value:
        assert self.store is not None  # there are others
        try:
            value = words()
        except BaseException as error:
            self.store.set(key, json.dumps({"error": str(error) or type(error).__name__}))
            raise
        self.store.set(key, json.dumps({"value": value}))
        return value

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block without exchanges, in which a CrossfieldError of one process becomes an error of all."""
        try:
            yield
        except CrossfieldError:
            self.agree(1)
            raise
        if self.agree(0)[0]:
            raise RunError("another process of this run stopped with an error, which it says itself")

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """A block in which a lost process is a RunError that says what to do."""
        try:
            yield
        except RuntimeError as error:
            if self.is_alone or not _LOST.search(f"{type(error).__name__} {error}"):
                raise
            said = str(error).strip().splitlines()[0].split(". ")[0]
            raise RunError(
                f"lost another process of this run ({said}); start all of them again with the same command and --resume"
            ) from None

    def seed(self, seed: int, step: int) -> None:
        """Seed torch's generators for one step: every process draws other numbers, a resumed run the same."""
        if not self.is_alone:
            state = np.random.SeedSequence((seed, step, self.rank)).generate_state(2, np.uint32)
            torch.manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, part: Tensor, team: Team) -> Tensor:
        return team.add_up(part.clone())

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _Pooled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, part: Tensor, team: Team) -> Tensor:
        ctx.team = team  # type: ignore[attr-defined]  # an attribute of our own
        return team.add_up(part.clone())

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.team.add_up(gradient.clone()), None  # type: ignore[attr-defined]  # an attribute of our own


ALONE = Team()


def is_launched() -> bool:
    """Whether this process is one of several, started by torchrun or with its variables in the environment."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_leader() -> bool:
    """Whether this process speaks for the run: the only one, or the first."""
    return not is_launched() or os.environ["RANK"] == "0"


def check_alone(what: str) -> None:
    """Raise ConfigError where something that one process does is asked of several."""
    if is_launched():
        raise ConfigError(f"{what} is done by one process; start it without torchrun")


_joined: list[Team] = []


def join(device: str, *, lost_seconds: float) -> Team:
    """The team that torchrun started, joined at the first call and for good; alone where it did not start any.

    NCCL carries the tensors of GPUs, gloo those of CPUs. Raises RunError where the others do not come, ConfigError
    where somebody else has set up torch.distributed, or only some of torchrun's variables are in the environment.
    """
    if not is_launched():
        return ALONE
    if not _joined:
        _joined.append(_join(device.startswith("cuda"), timedelta(seconds=lost_seconds)))
    return _joined[0]


def _join(has_gpus: bool, patience: timedelta) -> Team:
    if dist.is_initialized():
        raise ConfigError("torch.distributed is initialised already; leave that to crossfield")
    names = ("LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if missing := [name for name in names if name not in os.environ]:
        said = f"RANK and WORLD_SIZE = {os.environ['WORLD_SIZE']} are in the environment without {missing[0]}"
        raise ConfigError(f"{said}; start it with torchrun, or unset RANK and WORLD_SIZE")
    local_rank, local_size = (int(os.environ[name]) for name in names)
    if has_gpus:
        torch.cuda.set_device(local_rank)
    try:
        store, rank, size = next(rendezvous("env://", timeout=patience))
        # torchrun's store outlives a restart: what the lost team left there must not be taken for an answer.
        store = PrefixStore(_meet(store, rank, size, patience=patience), store)
        backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise RunError(f"the processes of this run did not find each other: {said}") from None
    atexit.register(dist.destroy_process_group)
    return Team(rank, size, local_rank, local_size, store)


def _meet(store: Store, rank: int, size: int, *, patience: timedelta) -> str:
    """A name for this start of the team, which no earlier one had; raises DistStoreError where somebody does not come.

    torchrun's own count of restarts will not do: every machine has another. The first makes a name up and answers
    everybody who asks for it there; a name that an earlier first one left is never answered.
    """
    me = uuid4().hex
    if rank == 0:
        store.set(_NAME, me)
        for other in range(1, size):
            store.set(f"{me}/{store.get(f'{me}/{other}').decode()}", "welcome")
        return me
    name, waiting_until = "", time.monotonic() + patience.total_seconds()
    while not (name and store.check([f"{name}/{me}"])):
        if time.monotonic() > waiting_until:
            raise dist.DistStoreError(f"the first process did not answer for {patience.total_seconds():.0f} seconds")
        name = store.get(_NAME).decode()
        store.set(f"{name}/{rank}", me)
        time.sleep(_LOOK_SECONDS)
    return name
