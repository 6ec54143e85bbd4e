"""Shared by all tests: one thread each, so that results and timings do not depend on the neighbours, and no cache."""

import os
from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)
os.environ["CROSSFIELD_CACHE"] = "off"


@pytest.fixture(autouse=True)
def small_tables_as_they_are() -> Iterator[None]:
    """What a test of several processes calls a small table is forgotten after it."""
    from crossfield.distributed import spread

    before = spread.SMALL_TABLE
    yield
    spread.SMALL_TABLE = before
