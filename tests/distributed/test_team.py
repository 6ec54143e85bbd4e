"""What processes say to each other arrives, in the order of ranks; alone, everything is as it was."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist

from crossfield.distributed.team import ALONE, Team, _meet, check_alone, is_launched, join
from crossfield.errors import ConfigError, DataError, RunError
from tests.distributed.launch import all_well, launch, variables


def refuse() -> Any:
    raise DataError("no rows")


def message(call: Any) -> str:
    try:
        call()
    except (RunError, DataError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing happened"


def fail_on_second(team: Team) -> None:
    with team.together():
        if not team.is_first:
            refuse()


def conversation(team: Team) -> dict[str, Any]:
    rank = team.rank
    rows = torch.arange(2 * rank).view(-1, 1) + 10 * rank  # none of the first, 10 and 11 of the second
    rows_for = [torch.tensor([7, 8]), torch.tensor([5])]  # all for the second
    leaf = torch.tensor([1.0 + rank], requires_grad=True)
    ((rank + 1) * team.pooled(leaf).sum()).backward()
    team.seed(3, 4)
    first = torch.rand(3)
    team.seed(3, 4)
    return {
        "pooled gradient": leaf.grad.tolist() if leaf.grad is not None else None,
        "gather": team.gather(rows).flatten().tolist(),
        "exchange": team.exchange(
            rows_for[rank], sent=[0, 2 - rank], received=[0, 0] if rank == 0 else [2, 1]
        ).tolist(),
        "any": team.any_of(torch.tensor([False, rank == 1])).tolist(),
        "agree": team.agree(rank, 2),
        "hear": team.hear(lambda: {"said by": rank}),
        "refused": message(lambda: team.hear(refuse)),
        "together": message(lambda: fail_on_second(team)),
        "repeats": torch.equal(first, torch.rand(3)),
        "drawn": first.tolist(),
        "same team": join("cpu", lost_seconds=60.0) is team,
    }


def test_what_is_said_arrives() -> None:
    first, second = all_well(launch(conversation, 2))
    for one in (first, second):
        assert one["gather"] == [10, 11] and one["pooled gradient"] == [3.0]
        assert (one["any"], one["agree"], one["hear"]) == ([False, True], [1, 4], {"said by": 0})
        assert one["repeats"] and one["same team"]
    assert first["exchange"] == [] and second["exchange"] == [7, 8, 5]
    assert first["refused"] == "DataError: no rows"
    assert second["refused"] == "RunError: stopped with the first process: no rows"
    assert first["together"].startswith("RunError: another process") and second["together"] == "DataError: no rows"
    assert first["drawn"] != second["drawn"]


def test_alone_nothing_changes() -> None:
    values = torch.tensor([1.0, 2.0])
    assert ALONE.add_up(values) is values and ALONE.agree(3) == [3] and ALONE.hear(lambda: 5) == 5
    assert torch.equal(ALONE.gather(values.view(2, 1)), values.view(2, 1))
    assert ALONE.device("cuda") == "cuda"
    state = torch.get_rng_state()
    ALONE.seed(1, 2)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError, match="gloo"), ALONE.guarded():
        raise RuntimeError("gloo")


def test_of_several_each_has_its_own_gpu_and_a_lost_one_is_said_plainly() -> None:
    team = Team(rank=3, size=4, local_rank=1, local_size=2)
    assert (team.device("cuda"), team.device("cuda:0"), team.device("cpu")) == ("cuda:1", "cuda:0", "cpu")
    lost = r"lost another process .*closed by peer.* with the same command and --resume"
    with pytest.raises(RunError, match=lost), team.guarded():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="shapes"), team.guarded():
        raise RuntimeError("shapes do not fit")


def test_one_process_is_told_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_launched() and join("cpu", lost_seconds=1.0) is ALONE
    check_alone("update")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not is_launched()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="update is done by one process; start it without torchrun"):
        check_alone("update")


@pytest.mark.parametrize("name", ["LOCAL_RANK", "LOCAL_WORLD_SIZE"])
def test_some_of_torchruns_variables_without_the_others_are_said_plainly(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known, value in variables(rank=0, size=2, port=1).items():
        monkeypatch.setenv(known, value)
    monkeypatch.delenv(name)
    said = f"RANK and WORLD_SIZE = 2 are in the environment without {name}; start it with torchrun, or unset"
    with pytest.raises(ConfigError, match=said):
        join("cpu", lost_seconds=1.0)


def test_a_team_meets_under_a_name_that_no_earlier_start_had() -> None:
    store, patience = dist.HashStore(), timedelta(seconds=20)
    store.set("crossfield/name", "lost")  # of a start before, on whose machines restarts were counted otherwise
    with ThreadPoolExecutor() as threads:
        others = [threads.submit(_meet, store, rank, 3, patience=patience) for rank in (1, 2)]
        while not store.check(["lost/1", "lost/2"]):
            time.sleep(0.01)
        name = _meet(store, 0, 3, patience=patience)
        assert name != "lost" and [one.result() for one in others] == [name, name]


def test_who_meets_nobody_does_not_wait_for_ever() -> None:
    store = dist.HashStore()
    store.set("crossfield/name", "lost")
    with pytest.raises(dist.DistStoreError, match="the first process did not answer for 0 seconds"):
        _meet(store, 1, 2, patience=timedelta(seconds=0.2))
