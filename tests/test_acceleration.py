"""What is chosen for a machine, and that the same inputs always choose the same."""

import os
import shutil

import pytest
import torch
from torch import nn

import crossfield.acceleration as acceleration
from crossfield.acceleration import (
    Switch,
    check_device,
    choose_bf16,
    choose_compile,
    choose_means,
    expected_seconds,
    num_cores,
)
from crossfield.errors import ConfigError
from crossfield.models.base import Model
from crossfield.schema import Field, Kind, ModelSchema

CPU = torch.device("cpu")


class Wide(Model):
    def __init__(self, schema: ModelSchema) -> None:
        super().__init__(schema, None)
        self.net = nn.Linear(1000, 1000)


def test_automatic_precision_follows_the_hardware_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_bf16("auto", CPU) == (True, "bf16: this device has instructions for it")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert choose_bf16("auto", CPU)[0]
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert choose_bf16("auto", CPU) == (False, "fp32: this device has no bf16 instructions")
    assert choose_bf16("bf16", CPU) == (True, "bf16 as asked")
    assert choose_bf16("fp32", CPU) == (False, "fp32 as asked")


@pytest.mark.parametrize(
    ("switch", "seconds", "is_jagged", "expected"),
    [
        ("off", 1e6, False, False),
        ("on", 1.0, False, True),
        ("on", 1e6, True, False),
        ("auto", 299.0, False, False),
        ("auto", 301.0, False, True),
        ("auto", 1e6, True, False),
    ],
)
def test_compiling_is_chosen_for_long_runs_of_one_shape(
    switch: Switch, seconds: float, is_jagged: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceleration, "can_compile", lambda device: True)
    chosen, why = choose_compile(switch, CPU, seconds=seconds, is_jagged=is_jagged)
    assert chosen is expected
    assert why.startswith("compiled" if expected else "not compiled")


def test_without_a_compiler_auto_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert choose_compile("auto", CPU, seconds=1e6, is_jagged=False)[1].startswith("not compiled: no C++ compiler")


def test_expected_seconds_count_the_linear_layers() -> None:
    model = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Embedding(10**5, 4))
    # 6 operations x 1 M weights x 40,000 rows = 2.4e11, at 4e10 a second and thread.
    assert expected_seconds(model, CPU, num_rows=40_000, threads=1) == pytest.approx(6.0)
    assert expected_seconds(model, CPU, num_rows=40_000, threads=2) == pytest.approx(3.0)


def test_means_are_chosen_together_with_a_phrase_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "can_compile", lambda device: True)
    schemas = (ModelSchema(), ModelSchema(sequences=(Field("genres", 4, Kind.MULTI),)))
    options = {"threads": 1, "precision": "fp32", "compile": "auto", "num_rows": 10**9}
    flat, jagged = (choose_means(Wide(one), CPU, **options) for one in schemas)  # type: ignore[arg-type]
    assert flat[0].threads == 1 and not flat[0].bf16 and flat[0].compiled
    assert flat[1] == ["fp32 as asked", "compiled: about 150,000 s of training expected"]
    assert not jagged[0].compiled
    default, _ = choose_means(Wide(schemas[0]), CPU, threads=None, precision="fp32", compile="off", num_rows=1)
    assert default.threads == torch.get_num_threads()


def test_there_is_a_core_to_run_on() -> None:
    assert 1 <= num_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "meta", ""])
def test_what_is_no_device_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"there is no device '{name}'; name cpu, cuda or cuda:NUMBER"):
        check_device(name)


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [("cuda", 0, "no CUDA device is on this machine"), ("cuda:2", 2, "cuda:0 to cuda:1 are on this machine")],
)
def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, name: str, count: int, said: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ConfigError, match=said):
        check_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert check_device(name) == name
    assert check_device("cpu") == "cpu"
