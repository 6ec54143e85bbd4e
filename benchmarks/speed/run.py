"""Crossfield beside its peers: the same rows, the same model sizes, one epoch, in turn.

    python benchmarks/speed/run.py --peer deepctr=PYTHON --peer rechub=PYTHON ... [--models DeepFM DCN] [--record]

PYTHON is the interpreter of an environment in which the script ``peers/<name>.py`` runs; the script says how to make
it. Rows are made by ``ctr_data.py`` where --data has none. Ours runs before every peer (A B A C ...), each time in a
fresh process with the same number of threads. Prints a table of medians; with --record all lines are appended to
benchmarks/results/speed.jsonl, from which `make docs` draws docs/speed.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from crossfield.files import append_line

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "speed.jsonl"
MODELS = ("DeepFM", "WideDeep", "DCN", "DCNv2", "DLRM", "xDeepFM", "FinalMLP")
RANKING = ("NeuMF", "MF")
"""Models of pairs: their --data are train.tsv and test.tsv, user and item in each line."""
HAS = {
    "deepctr": {"DeepFM", "WideDeep", "DCN", "DCNv2", "xDeepFM"},
    "rechub": {"DeepFM", "WideDeep", "DCN", "DCNv2"},
    "torchrec_dlrm": {"DLRM"},
    "fuxictr_zoo": {"DeepFM", "WideDeep", "DCN", "DCNv2", "xDeepFM", "FinalMLP"},
    "recbole_context": {"DeepFM", "WideDeep", "DCN", "DCNv2", "xDeepFM"},
    "widedeep": {"WideDeep"},
    "recbole_ranking": {"NeuMF", "MF"},
    "implicit_ranking": {"MF"},
}
"""Models of each peer; FuxiCTR has a DLRM too, which fails on numbers (float64 against float32)."""


def main() -> None:
    """Run what the command line asks for."""
    given = arguments()
    is_ranking = given.models[0] in RANKING
    if not is_ranking and not (given.data / "train.csv").is_file():
        maker = [sys.executable, str(HERE / "ctr_data.py"), "--out", str(given.data)]
        sizes = ["--train", str(given.train), "--valid", str(given.train // 5)]
        subprocess.run([*maker, *sizes, "--vocabulary-scale", str(given.scale)], check=True)
    table_rows = None if is_ranking else json.loads((given.data / "info.json").read_text())["table_rows"]
    peers = dict(one.split("=", 1) for one in given.peer)
    lines: list[dict[str, Any]] = []
    for model, name in turns(given.models, given.rounds, peers):
        line = contest(name, peers.get(name, sys.executable), model, given=given)
        if line is not None:
            about = {"when": f"{datetime.now(UTC):%Y-%m-%d %H:%M}", "cpu": cpu_name()}
            lines.append({**line, **about, "vocabulary": table_rows, "full_tables": given.full_tables})
            if given.record:
                append_line(RESULTS, lines[-1])
    print(table(lines))


def turns(models: Sequence[str], rounds: int, peers: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Who runs which model, one after the other."""
    for model in models:
        for _ in range(rounds):
            for peer in [one for one in peers if model in HAS[one]] or [None]:
                yield model, "ours"
                if peer is not None:
                    yield model, peer


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help=f"any of {', '.join(HAS)}")
    parser.add_argument("--models", nargs="+", choices=MODELS + RANKING, default=list(MODELS))
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "crossfield-speed")
    parser.add_argument("--train", type=int, default=500_000, help="training rows to make; a fifth of it to validate")
    parser.add_argument("--scale", type=int, default=1, help="1: about 1 M ids to draw from, 10: about 9 M")
    parser.add_argument("--full-tables", action="store_true", help="tables with a row for every id, met or not")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=int, default=900, help="seconds for one contestant")
    parser.add_argument("--record", action="store_true", help=f"append to {RESULTS.name}")
    return parser.parse_args()


def contest(name: str, python: str, model: str, *, given: argparse.Namespace) -> dict[str, Any] | None:
    """The result line of one run in a fresh process; None where it failed."""
    ours = "ours_ranking.py" if model in RANKING else "ours.py"
    script = HERE / ours if name == "ours" else HERE / "peers" / f"{name}.py"
    threads = str(given.threads)
    environment = {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), threads),
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        # Every run encodes its rows.
        "CROSSFIELD_CACHE": "off",
    }
    with tempfile.TemporaryDirectory() as work:
        command = [python, str(script), "--model", model, "--data", str(given.data), "--work", work]
        command += ["--threads", threads, *(["--full-tables"] if given.full_tables else [])]
        try:
            done = subprocess.run(
                command, env=environment, cwd=work, capture_output=True, text=True, timeout=given.timeout
            )
        except subprocess.TimeoutExpired:
            print(f"{name} {model}: more than {given.timeout} s", flush=True)
            return None
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        print(f"{name} {model}: failed\n{done.stderr[-2000:]}", flush=True)
        return None
    line: dict[str, Any] = json.loads(found[-1].removeprefix("RESULT "))
    speeds = f"trained {line['train_rows_per_s']:,.0f}/s, evaluated {line['evaluate_rows_per_s']:,.0f}/s"
    told = f"{speeds}, {quality(line)}, {line['seconds']:.0f} s in all"
    print(f"{line['lib']} {model}: {told}, load {line['load']:.1f}", flush=True)
    return line


def quality(line: dict[str, Any]) -> str:
    """How good the trained model is."""
    return f"AUC {line['auc']:.4f}" if "auc" in line else f"HR@10 {line['hr10']:.3f}"


def cpu_name() -> str:
    """What the system calls its processor."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else ""


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Medians per model and library, and how many times faster ours trains, evaluates and gets from start to end."""
    rows = []
    for model in dict.fromkeys(line["model"] for line in lines):
        libs = dict.fromkeys(line["lib"] for line in lines if line["model"] == model)
        middle = {lib: medians([one for one in lines if (one["model"], one["lib"]) == (model, lib)]) for lib in libs}
        ours = middle.get("crossfield")
        for lib, one in middle.items():
            speeds = [one["train_rows_per_s"], one["evaluate_rows_per_s"], 1 / one["seconds"]]
            best = [] if ours is None else [ours["train_rows_per_s"], ours["evaluate_rows_per_s"], 1 / ours["seconds"]]
            ratios = " ".join(f"{mine / other:8.2f}x" for mine, other in zip(best, speeds, strict=False))
            rows.append(f"{model:<9} {lib:<17} {speeds[0]:>10,.0f} {speeds[1]:>10,.0f} {one['seconds']:>7.1f} {ratios}")
    head = "model     lib                trained/s    eval./s seconds  training evaluat. start-end"
    return "\n".join([head, *rows])


def medians(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of the runs of one library and model."""
    keys = ("train_rows_per_s", "evaluate_rows_per_s", "seconds")
    return {key: median(line[key] for line in lines) for key in keys}


if __name__ == "__main__":
    main()
