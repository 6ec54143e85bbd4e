"""Run a function on several processes of this machine, joined by gloo, as torchrun would start them."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from queue import Empty
from typing import Any

import torch

from crossfield.distributed.team import Team, join

PATIENCE = 120.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def variables(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    return {
        **{name: str(value) for name, value in places.items()},
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def launch(
    function: Callable[..., Any], size: int, *arguments: Any, lost_seconds: float = 60.0, lost: int = 0
) -> list[Any]:
    """What ``function(team, *arguments)`` gives on each of ``size`` processes; of an error, its traceback.

    Of the last ``lost`` no answer is awaited.
    """
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    port = free_port()
    given = [(answers, variables(rank, size, port), lost_seconds, function, arguments) for rank in range(size)]
    processes = [context.Process(target=_run, args=one, daemon=True) for one in given]
    for process in processes:
        process.start()
    found: dict[int, Any] = {}
    while len(found) < size - lost:
        try:
            rank, answer = answers.get(timeout=PATIENCE)
        except Empty:
            raise TimeoutError(f"no answer but of ranks {sorted(found)}") from None
        found[rank] = answer
    for process in processes[size - lost :]:
        process.kill()
    for process in processes:
        process.join(PATIENCE)
    return [found[rank] for rank in range(size - lost)]


def all_well(answers: list[Any]) -> list[Any]:
    """The answers, none of which may be an error's."""
    for answer in answers:
        assert not isinstance(answer, str) or "Traceback" not in answer, answer
    return answers


def _run(answers: Any, variables: dict[str, str], lost_seconds: float, function: Any, arguments: Any) -> None:
    os.environ.update(variables, CROSSFIELD_CACHE="off")
    torch.set_num_threads(1)
    try:
        team: Team = join("cpu", lost_seconds=lost_seconds)
        answers.put((team.rank, function(team, *arguments)))
    except BaseException:
        answers.put((int(variables["RANK"]), traceback.format_exc()))
