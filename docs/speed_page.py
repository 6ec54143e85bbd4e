"""docs/speed.md from the lines of benchmarks/speed: medians per library, and how many times as fast ours is."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from crossfield.pages.render import markdown_table

Line = Mapping[str, Any]
OURS = "crossfield"
RANKING = ("NeuMF", "MF")

HEAD = """# Speed

Drawn from `benchmarks/results/speed*.jsonl` and `memory-encode.jsonl` by `make docs`. Every run is a fresh process with
two threads on two cores of {cpu}; ours runs before each run of a peer, and the table has medians. *Ours* says how many
times as fast Crossfield is as that library in the column before: under 1 it is slower. AUC and log loss say what the
one epoch came to, first weights and all else that is not named below being each library's own. For 500,000 rows it is
123 steps; for 100,000 it is 25, after which the first weights still decide and some AUCs lie near .5: those rows time
training and rank no library.

The rows (`benchmarks/speed/ctr_data.py`): 13 numbers, 26 id columns with Zipf's frequencies, planted effects of first
and second order; a fifth as many to measure. All models: embeddings of 16, hidden layers of 400-400-400, batches of
4096, Adam at .001, one epoch. What differs: ours computes in bf16 with fp32 weights, and its Adam moves the rows of a
batch only ([decisions/006-training-step.md](decisions/006-training-step.md)).

`python benchmarks/speed/run.py --peer deepctr=PYTHON ... --record`; each script in `benchmarks/speed/peers/` says how
to make its environment."""


def speed_page(contests: Sequence[Line], house: Sequence[Line], memory: Sequence[Line]) -> str:
    """The whole page."""
    cpu = next((line["cpu"] for line in contests if line.get("cpu")), "this machine")
    clicks = [line for line in contests if line["model"] not in RANKING]
    seen, full = ([line for line in clicks if line["full_tables"] is one] for one in (False, True))
    parts = [HEAD.format(cpu=cpu), "## Training, and start to end", contest_table(seen), *start_to_end(seen)]
    if full:
        parts += [
            f"## Tables of {full[0]['vocabulary'] / 1e6:.0f} M rows",
            "The same with a row for every id that there is, met or not (`--scale 10 --full-tables`): what a step "
            "costs must follow the rows it touches, not the size of the tables.",
            contest_table(full),
        ]
    ranking = [line for line in contests if line["model"] in RANKING]
    if ranking:
        parts += [
            "## Whole catalogues",
            "MovieLens-1M, 6,040 users and 3,706 films, vectors of 64: after one epoch NeuMF ranks all films for each "
            "user, MF finds the ten best (`--models NeuMF MF --data DIR`); the hit rates of so short a training say "
            "nothing. MF is another algorithm on either side: implicit solves least squares once over and draws no "
            "negatives, ours takes gradient steps with four drawn negatives to each pair. So the two trainings are no "
            "measure of each other, but whoever wants MF alone has it there in a second.",
            ranking_table(ranking),
        ]
    return "\n\n".join([*parts, *house_section(house), *memory_section(memory)]) + "\n"


def by(lines: Iterable[Line], *keys: str) -> dict[tuple[Any, ...], list[Line]]:
    """Lines that agree in some keys, in the order in which they came."""
    found: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        found.setdefault(tuple(line[key] for key in keys), []).append(line)
    return found


def middle(lines: Sequence[Line], key: str) -> float:
    """The median of one number."""
    return float(median(line[key] for line in lines))


def contest_table(lines: Sequence[Line]) -> str:
    """One row per model and library, the fastest peer first."""
    rows = []
    for (model, num_rows), some in by(lines, "model", "train_rows").items():
        libs = by(some, "lib")
        ours = libs[(OURS,)]
        order = sorted(libs.items(), key=lambda item: (item[0] != (OURS,), -middle(item[1], "train_rows_per_s")))
        for (lib,), runs in order:
            rows.append(contest_row(f"{model}, {num_rows // 1000} k" if lib == OURS else "", lib, runs, ours))
    head = ("model", "library", "runs", "examples/s", "ours", "start to end, s", "ours", "AUC", "log loss", "peak MB")
    return markdown_table(head, rows)


def contest_row(model: str, lib: str, runs: Sequence[Line], ours: Sequence[Line]) -> tuple[str, ...]:
    """The cells of one library."""
    speed, seconds = middle(runs, "train_rows_per_s"), middle(runs, "seconds")
    faster = "" if lib == OURS else times(middle(ours, "train_rows_per_s") / speed)
    sooner = "" if lib == OURS else times(seconds / middle(ours, "seconds"))
    quality = f"{middle(runs, 'auc'):.4f}", f"{middle(runs, 'log_loss'):.4f}", f"{middle(runs, 'peak_mb'):,.0f}"
    name = f"{lib} {runs[0]['version']}"
    return model, name, str(len(runs)), f"{speed:,.0f}", faster, f"{seconds:.1f}", sooner, *quality


def start_to_end(lines: Sequence[Line]) -> list[str]:
    """Where the seconds of DeepFM go, by library."""
    runs = by([line for line in lines if line["model"] == "DeepFM"], "lib")
    names = ("import", "prepare", "build", "train", "evaluate")
    rows = [
        (lib, *(f"{median(line['parts'][name]['wall'] for line in some):.1f}" for name in names), cpu_of(some))
        for (lib,), some in runs.items()
    ]
    return ["Where DeepFM's seconds go:", markdown_table(("library", *names, "CPU seconds"), rows)] if rows else []


def cpu_of(lines: Sequence[Line]) -> str:
    """CPU seconds of the whole run."""
    return f"{middle(lines, 'cpu_seconds'):.0f}"


def ranking_table(lines: Sequence[Line]) -> str:
    """Training, start to end and users per second, by model and library."""
    rows = []
    for (model,), some in by(lines, "model").items():
        libs = by(some, "lib")
        rows += [ranking_row(model, lib, runs, libs[(OURS,)]) for (lib,), runs in libs.items()]
    head = ("model", "library", "runs", "pairs/s", "ours", "start to end, s", "ours", "users/s", "ours", "peak MB")
    return markdown_table(head, rows)


def ranking_row(model: str, lib: str, runs: Sequence[Line], ours: Sequence[Line]) -> tuple[str, ...]:
    """The cells of one library."""
    keys = ("train_rows_per_s", "seconds", "evaluate_rows_per_s")
    pairs, seconds, users = (middle(runs, key) for key in keys)
    our_pairs, our_seconds, our_users = (middle(ours, key) for key in keys)
    ratios = [times(one) for one in (our_pairs / pairs, seconds / our_seconds, our_users / users)]
    faster, sooner, ranked = ratios if lib != OURS else ("", "", "")
    told = f"{pairs:,.0f}", faster, f"{seconds:.1f}", sooner, f"{users:,.0f}", ranked
    return model, f"{lib} {runs[0]['version']}", str(len(runs)), *told, f"{middle(runs, 'peak_mb'):,.0f}"


def times(ratio: float) -> str:
    """How many times as fast: two digits of what is under 1, so that no lost race is drawn as 0."""
    return f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2g}x"


def house_section(lines: Sequence[Line]) -> list[str]:
    """Figures against the machine's own limits, the newest of each kind."""
    newest = {(line["what"], line.get("cache"), line.get("model"), line.get("table")): line for line in lines}
    told = [TOLD[what](line) for (what, *_), line in newest.items() if what in TOLD]
    head = [
        "## Against this machine's limits",
        "`python benchmarks/speed/house.py --data DIR --record`, DIR as `ctr_data.py --out DIR` fills it.",
    ]
    return (
        [*head, *told, *profile_section([one for one in newest.values() if one["what"] == "profile"])] if told else []
    )


def profile_section(lines: Sequence[Line]) -> list[str]:
    """Where the milliseconds of a training step go."""
    if not lines:
        return []
    kinds = list(lines[0]["parts_ms"])
    rows = [
        (
            line["model"],
            f"{line['ms']:.0f}",
            f"{line['least_ms']:.0f}",
            f"{line['least_ms'] / line['ms']:.0%}",
            *(f"{line['parts_ms'][kind]:.1f}" for kind in kinds),
        )
        for line in lines
    ]
    return [
        "Where a training step goes, in ms (4096 rows, two threads): the whole step; the least that its products of "
        "matrices can take, at the rate of one product in the same run; its share; and what a profiler sees by kind.",
        markdown_table(("model", "step", "least", "share", *kinds), rows),
        "Our aim was to train four to five times as fast as the fastest peer. Where training misses it, this is why: "
        "about half to two thirds of a step is products of matrices at the machine's own rate, which no library can "
        "pass. With nothing beside them a step would be 1.6 to 2.2 times as fast. From start to end the rest is "
        "reading and encoding text (both cores busy), imports, and evaluation in fp32; five times as fast as the "
        "fastest peer would need training at that limit, and half the time for the text.",
    ]


TOLD = {
    "dense": lambda line: (
        f"- The dense part of DCN-V2 (three cross layers of 429 beside the MLP), forward and backward: "
        f"{line['gflops']:.0f} GFLOP/s in bf16, {line['share']:.0%} of the {line['matmul_gflops']:.0f} that one "
        "product of matrices reaches."
    ),
    "tables": lambda line: (
        f"- A step of DeepFM: {line['ms_1m']:.1f} ms with tables of 1 M rows, {line['ms_10m']:.1f} with 10 M: "
        f"{line['ratio']:.2f} times as long."
    ),
    "waiting": lambda line: (
        f"- A step of DeepFM with tables of {line['rows'] / 1e6:.0f} M rows and Adam over all of them: "
        f"{line['whole_ms']:.0f} ms where every row moves at every step, {line['waiting_ms']:.0f} where rows wait "
        f"until they are read, with the same weights; with lazy Adam, which has others, {line['lazy_ms']:.0f}."
    ),
    "waiting, most ids": lambda line: (
        f"- Adam's step of a table of {line['table']} with {line['ids']:,} ids, the most for which its rows wait: "
        f"{line['whole_ms']:.1f} ms where every row moves, {line['waiting_ms']:.1f} where they wait."
    ),
    "auc": lambda line: (
        f"- AUC of {line['rows'] / 1e6:.0f} M scores: {line['seconds']:.1f} s; "
        f"scikit-learn {line['sklearn_seconds']:.1f} s."
    ),
    "again": lambda line: (
        f"- From the start of the process to the first training step, {line['rows']:,} rows of CSV: "
        f"{line['first_seconds']:.1f} s, where the rows are kept from an earlier run {line['again_seconds']:.1f} s."
    ),
    "compile": lambda line: (
        f"- DeepFM from start to end, {COMPILED[line['cache']]}: {line['seconds']:.1f} s, training "
        f"{line['parts']['train']:.1f} s of them."
    ),
}
COMPILED = {
    "off": "not compiled",
    "cold": "compiled, with an empty cache of compiled code",
    "warm": "compiled, with a filled one",
}


def memory_section(lines: Sequence[Line]) -> list[str]:
    """Raw text to encoded rows: seconds and memory."""
    rows = [
        (
            line["lib"],
            f"{line['rows']:,}",
            f"{line['ids']:,}",
            f"{line['seconds_in_all']:.0f}",
            f"{line['rows'] / line['seconds_in_all']:,.0f}",
            f"{line['anonymous_mb']:,}",
        )
        for line in lines
        if "seconds_in_all" in line
    ]
    if not rows:
        return []
    head = ("library", "rows", "ids", "seconds", "rows/s", "anonymous memory, MB")
    return [
        "## From text to encoded rows",
        "`python benchmarks/memory/encode.py FILE --record`, and with `--pandas` what pandas takes for the same: "
        "vocabularies by falling count, numbers scaled, everything written as arrays. Two threads. Pages of mapped "
        "files do not count as memory: the system can drop them.",
        markdown_table(head, rows),
    ]
