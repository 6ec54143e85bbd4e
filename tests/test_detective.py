"""A planted fault is found: the layer, the parameters, the rows and the columns; and it happens again in a replay."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from crossfield.batch import Batch
from crossfield.cli import main
from crossfield.detective import investigate
from crossfield.models import CATALOGUE
from crossfield.models.base import Model
from crossfield.objectives import bce_objective
from crossfield.schema import Field, ModelSchema

SCHEMA = ModelSchema(dense=("price", "age"), categorical=(Field("user", 12), Field("item", 9)))


def batch(**dense: float) -> Batch:
    random = np.random.default_rng(0)
    values = torch.from_numpy(random.normal(size=(8, 2)).astype(np.float32))
    for column, value in dense.items():
        values[3, SCHEMA.dense.index(column)] = value
    ids = torch.from_numpy(np.stack([random.integers(2, 12, 8), random.integers(2, 9, 8)], 1))
    labels = torch.from_numpy((random.random((8, 1)) < 0.5).astype(np.float32))
    return Batch(values, ids, labels=labels, rows=torch.arange(100, 108))


def model(name: str = "deepfm") -> Model:
    torch.manual_seed(0)
    return CATALOGUE[name](SCHEMA, CATALOGUE[name].config_type())


def step(trained: Model) -> Any:
    def run(given: Batch) -> Tensor:
        trained.zero_grad()
        loss = bce_objective(trained, given)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return run


def test_an_input_that_is_no_number_names_its_row_and_column() -> None:
    broken = model()
    found = investigate(broken, step(broken), batch(price=math.nan), number=7)
    assert found.step == 7 and found.rows == (103,) and found.columns == ("price = nan",)
    assert found.layer is not None and found.layer.startswith("the output of ") and math.isnan(found.loss)
    assert "parameters " in str(found) and len(found.parameters) > 2
    assert json.dumps(found.to_json())


def test_an_extreme_input_is_named_though_it_is_finite() -> None:
    broken = model("dcn_v2")
    found = investigate(broken, step(broken), batch(age=3e20), number=1)
    assert found.columns == ("age = 3e+20",) and 103 in found.rows
    assert found.layer is not None


def test_weights_that_were_broken_before_are_named() -> None:
    broken = model()
    with torch.no_grad():
        name = next(name for name, weight in broken.named_parameters() if "deep" in name and weight.ndim == 2)
        broken.get_parameter(name)[2, 2] = math.inf
    found = investigate(broken, step(broken), batch(), number=1)
    assert found.parameters == (name,)
    assert found.layer is not None and "deep" in found.layer and found.columns == ()


def test_a_sound_step_has_nothing() -> None:
    sound = model()
    found = investigate(sound, step(sound), batch(), number=1)
    assert (found.layer, found.parameters, found.rows, found.columns) == (None, (), (), ())


def test_a_run_stops_keeps_the_batch_and_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    price = random.normal(size=3000)
    rows = pl.DataFrame({"user": random.integers(0, 20, 3000), "price": price, "click": random.integers(0, 2, 3000)})
    rows = rows.with_columns(price=pl.when(pl.int_range(pl.len()) == 1234).then(1e38).otherwise("price"))
    rows.write_csv(tmp_path / "rows.csv")
    options = ["--label", "click", "--kind", "user=categorical", "--set", "encoder.dense=none", "--split", "random"]
    settings = ["--set", "train.batch_size=64", "--set", "train.precision=fp32", "--set", "train.checkpoint_seconds=0"]
    command = ["fit", str(tmp_path / "rows.csv"), "--model", "dcn_v2", "--out", str(tmp_path / "run"), "-q"]

    def run(*words: str) -> tuple[int, str, str]:
        sys.argv = ["crossfield", *words]
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    code, _, said = run(*command, *options, *settings)
    assert code == 1 and "the numbers are not finite" in said and "price = 1e+38" in said
    assert "body.cross.layers.0 (CrossLayerV2)" in said and f"crossfield replay {tmp_path / 'run'}" in said
    assert (tmp_path / "run" / "work" / "checkpoints" / "incident" / "manifest.json").is_file()
    before = sorted(path.name for path in (tmp_path / "run" / "work" / "checkpoints").iterdir())
    code, out, _ = run("replay", str(tmp_path / "run"), "--json")
    found = json.loads(out)
    assert code == 0 and found["again"] and found["columns"] == ["price = 1e+38"] and found["rows"]
    assert sorted(path.name for path in (tmp_path / "run" / "work" / "checkpoints").iterdir()) == before
    code, _, said = run("replay", str(tmp_path))
    assert code == 1 and "holds no unfinished run" in said
