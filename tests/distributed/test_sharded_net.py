"""A dense part that is sharded learns what a whole one learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossfield.data.store import write_store
from crossfield.distributed.team import ALONE
from tests.distributed.launch import all_well, launch
from tests.distributed.test_spread import L2_AND_CLIP, SCHEMA, Case, all_trained, encoded, trained

CASES = [
    Case("dhen", settings=L2_AND_CLIP),
    Case("fcn", settings={"optimizer": "adagrad"}),  # a model of branches
    Case("wide_deep", settings=L2_AND_CLIP),
    Case("deepfm", settings={"optimizer": "sgd"}),
]


@pytest.mark.parametrize(("mesh", "size"), [("1x2", 2), pytest.param("2x2", 4, marks=pytest.mark.slow)])
def test_fsdp_and_hsdp_are_one_process(mesh: str, size: int, tmp_path: Path) -> None:
    write_store([encoded()], tmp_path, model_schema=SCHEMA, fingerprint="f")
    some = CASES[:2] if size == 2 else CASES
    cases = [replace(one, settings={**one.settings, "mesh": mesh}) for one in some]
    answers = all_well(launch(all_trained, size, cases, tmp_path))
    for place, case in enumerate(some):
        losses, weights, _ = trained(ALONE, case, tmp_path)
        np.testing.assert_allclose(answers[-1][place][0], losses, rtol=1e-10)
        for name, weight in weights.items():
            np.testing.assert_allclose(answers[0][place][1][name], weight, atol=1e-10, err_msg=f"{case}: {name}")
