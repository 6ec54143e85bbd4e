"""Mutated inputs of every kind end in Crossfield's own errors; benchmarks/reliability/fuzz.py is the long form."""

import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossfield.errors import CrossfieldError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "reliability"))
from fuzz import KINDS, MOST_SECONDS, Fuzz


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is mutated, made once."""
    return Fuzz(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dice=st.randoms(use_true_random=False))
def test_only_clear_errors_come_out(fuzz: Fuzz, kind: str, dice: random.Random) -> None:
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            getattr(fuzz, kind)(dice)()
        except CrossfieldError as error:
            assert str(error)
    assert time.monotonic() - started < 4 * MOST_SECONDS  # on a machine that may be busy
