"""Spark for the tests that need it, on two cores of this machine; they are skipped, saying why, where it is absent."""

import os
import shutil
from pathlib import Path

import pytest


def spark_or_skip() -> None:
    """Skip the test where Spark cannot run; else say how it is to be started, should this be the first."""
    pytest.importorskip("pyspark", reason="pyspark is not installed; pip install 'crossfield[spark]'")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java, and there is none")
    os.environ.setdefault(
        "PYSPARK_SUBMIT_ARGS", "--master local[2] --driver-memory 1g --conf spark.ui.enabled=false pyspark-shell"
    )
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
