"""docs/reliability.md from the lines of benchmarks/reliability: what was done to runs and files, what came of it."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from crossfield.pages.render import markdown_table

Line = Mapping[str, Any]

HEAD = """# Reliability

Drawn from `benchmarks/results/reliability*.jsonl` by `make docs`; the tests run short forms of the same scripts."""
FAULTS = """## Stopped and damaged

`python benchmarks/reliability/faults.py --count 100 --record`: real processes, one thread, each model with dropout, id
dropout, validation and (neumf) drawn negatives. *kills*: kill -9 at random moments, resumed until done. *signals*:
Ctrl-C and SIGTERM. *full disk*: writing fails at a random size of file. *damage*: a bit turned over, the file cut or
gone, in every file that loading a run, its rows, its checkpoint or what an update goes on from reads. Wrong would be
weights that differ in one byte from the undisturbed run's, or damage that loading does not see."""
FUZZ = """## Mutated inputs

`python benchmarks/reliability/fuzz.py --count 20000 --record`: recipes, schemas, text files, and files of runs,
checkpoints and stores with their checksums made anew. Wrong would be any error but Crossfield's own, 5 seconds, or a
gigabyte."""
WEEK = """## A week of new films

`python benchmarks/reliability/daily.py --record`: AUC of each day's visits before they are learned, {model}, mean of
{seeds} seeds. New films come every day; the share of visits to films never met before stands in the last row.
CPU seconds are those of all seven days."""
WAYS = {
    "none": "never again",
    "update": "update, 1 epoch",
    "update_3": "update, 3 epochs",
    "scratch": "from scratch, 5 epochs",
}


def reliability_page(lines: Sequence[Line], daily: Sequence[Line]) -> str:
    """The whole page."""
    parts = [HEAD, *faults_section(lines), *fuzz_section(lines), *(week_section(daily) if daily else [])]
    return "\n\n".join(parts) + "\n"


def faults_section(lines: Sequence[Line]) -> list[str]:
    """A row per model and kind of fault."""
    rows = [
        (line["model"], line["what"], f"{line['count']:,}", _told(line), f"{line['wrong']:,}")
        for line in lines
        if line["what"] != "fuzz"
    ]
    return [FAULTS, markdown_table(("model", "what", "times", "of them", "wrong"), rows)] if rows else []


def _told(line: Line) -> str:
    if line["what"] == "kills":
        return f"{line['while_writing']} while a checkpoint was written; {line['runs']} runs came out"
    if line["what"] == "damage":
        return f"{line['bit']:,} bits, {line['cut']:,} cuts, {line['gone']:,} gone"
    return f"{line['refused']} refused in a line" if "refused" in line else ""


def fuzz_section(lines: Sequence[Line]) -> list[str]:
    """A row per kind of input."""
    rows = [
        (
            line["kind"],
            *(f"{line[key]:,}" for key in ("count", "refused", "accepted", "wrong")),
            f"{line['slowest_s']:.2f}",
            f"{line['peak_mb']:,}",
        )
        for line in lines
        if line["what"] == "fuzz"
    ]
    head = ("input", "tried", "refused", "accepted", "wrong", "slowest, s", "peak MB")
    return [FUZZ, markdown_table(head, rows)] if rows else []


def week_section(lines: Sequence[Line]) -> list[str]:
    """A column per day, a row per way."""
    days = sorted({line["day"] for line in lines})
    seeds = len({line["seed"] for line in lines})

    def cells(way: str, key: str, form: str) -> list[str]:
        chosen = [[line[key] for line in lines if (line["way"], line["day"]) == (way, day)] for day in days]
        return [format(mean(some), form) for some in chosen]

    rows = []
    for way, told in WAYS.items():
        cpu = sum(line["seconds"] for line in lines if line["way"] == way) / seeds
        rows.append((told, *cells(way, "auc", ".4f"), f"{cpu:.0f}"))
    rows.append(("visits to new films", *cells("none", "of_new_films", ".0%"), ""))
    head = ("model is trained", *(f"day {day}" for day in days), "CPU s")
    return [WEEK.format(model=lines[0]["model"], seeds=seeds), markdown_table(head, rows)]
