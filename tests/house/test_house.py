"""What the house promises about itself."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

COMMANDS = [
    "prepare",
    "fit",
    "plan",
    "doctor",
    "update",
    "replay",
    "evaluate",
    "calibrate",
    "predict",
    "recommend",
    "models",
    "schema",
    "data",
    "tour",
    "reproduce",
]


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help_answers_without_torch(arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['crossfield', *sys.argv[1:]]\n"
        "from crossfield.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as stop:\n    assert stop.code in (0, None), stop.code\n"
        "assert 'torch' not in sys.modules and 'polars' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_drawn_pages_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / "build.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_functions_have_a_home_in_the_tests() -> None:
    package = ROOT / "src" / "crossfield"
    tested = {path.name.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    untested = {path.name for path in package.rglob("*.py")} - tested
    assert untested <= {"__init__.py", "__main__.py", "base.py", "cli.py", "console.py", "errors.py", "options.py"}


def test_nothing_loads_pickles() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text()
        for word in ("import pickle", "torch.load(", "joblib", "allow_pickle=True", " eval(", "exec("):
            assert word not in text, f"{path}: {word}"
