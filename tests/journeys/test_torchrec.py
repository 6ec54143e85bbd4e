"""A fit whose tables TorchRec holds is the same fit: the same run folder, which any process goes on with."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from crossfield import Ranker
from tests.distributed.test_torchrec_tables import needs_torchrec
from tests.journeys.test_several_processes import TORCHRUN, clicks, fit_command, run


@needs_torchrec
def test_one_process_and_two_fit_what_is_fitted_in_memory(tmp_path: Path) -> None:
    data = tmp_path / "data.parquet"
    clicks().write_parquet(data)
    settings = ["--set=train.optimizer=rowwise_adagrad", "--set=train.embedding_lr=0.05", "--json"]
    fused = [*settings, "--set=train.tables=torchrec"]
    ways = {"memory": [sys.executable], "one": [sys.executable], "two": list(TORCHRUN)}
    told = {}
    for name, start in ways.items():
        done = run(*start, *fit_command(data, tmp_path / name, *(settings if name == "memory" else fused)))
        assert done.returncode == 0, done.stderr
        assert (name == "memory") == ("TorchRec holds 2 tables: " not in done.stderr), done.stderr
        told[name] = json.loads(done.stdout)
    for name in ("one", "two"):
        for metric in ("auc", "log_loss"):
            assert told[name]["valid"][metric] == pytest.approx(told["memory"]["valid"][metric], rel=1e-5)
        for file in ("model.safetensors", "training/tensors.safetensors"):
            expected, found = (load_file(tmp_path / one / file) for one in ("memory", name))
            assert expected.keys() == found.keys()
            for key, value in expected.items():
                np.testing.assert_allclose(found[key], value, atol=2e-5, err_msg=f"{name}: {key}")
    ranker = Ranker.load(tmp_path / "two")
    assert ranker.predict(clicks().head(5), quiet=True) == pytest.approx(
        Ranker.load(tmp_path / "memory").predict(clicks().head(5), quiet=True), rel=1e-4
    )
    update = ["-m", "crossfield", "update", str(tmp_path / "two"), str(data), "--out", str(tmp_path / "updated")]
    done = run(sys.executable, *update)
    assert done.returncode == 0, done.stderr
