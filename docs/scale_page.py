"""docs/scale.md: from a laptop to a cluster, and what was measured, counted and modelled on the way."""

from collections.abc import Sequence
from statistics import median

from reliability_page import Line

from crossfield.pages.render import markdown_table

HEAD = """# From a laptop to a cluster

The recipe stays, the launcher changes, the result is the same: `train.batch_size` is that of all processes together,
every process takes its slice of each batch of the one order that seed and epoch give, and losses, gradients, batch
norms and metrics are those of the whole batch.

## Five commands

The first was run, on a CPU. Two to five (GPUs, two machines, Slurm, Kubernetes) are written for and were not run: what
ran is gloo on CPUs, up to four processes of one machine. No GPU was at hand for any of them.

1. One process, on a laptop or one GPU:

   ```
   crossfield fit clicks.parquet --label click --model dhen --out runs/clicks
   ```

2. All GPUs of one machine (with `--device cpu`, its cores):

   ```
   torchrun --nproc-per-node 8 \\
     -m crossfield fit clicks.parquet --label click --model dhen --out runs/clicks --device cuda
   ```

3. Two machines, the same line on each, with a folder that both see, where the encoded rows lie too; the first machine's
   name is `host0`:

   ```
   torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint host0:29500 \\
     -m crossfield fit clicks.parquet --label click --model dhen --out /shared/runs/clicks --device cuda --resume
   ```

   `--max-restarts 3` starts all of them again where one was lost; with `--resume` they go on from the newest
   checkpoint, on all machines, whichever lost it.

4. Slurm (`sbatch fit.sh`):

   ```
   #!/bin/bash
   #SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=64
   srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 8 --rdzv-backend c10d \\
     --rdzv-endpoint "$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):29500" \\
     -m crossfield fit clicks.parquet --label click --model dhen --out /shared/runs/clicks --device cuda --resume
   ```

5. Kubernetes, with the training operator's PyTorchJob (`kubectl apply -f fit.yaml`), which sets the addresses:

   ```yaml
   apiVersion: kubeflow.org/v1
   kind: PyTorchJob
   metadata: {name: clicks}
   spec:
     nprocPerNode: "8"
     pytorchReplicaSpecs:
       Worker:
         replicas: 2
         restartPolicy: OnFailure
         template:
           spec:
             containers:
               - name: pytorch
                 image: registry/crossfield:latest
                 command: [torchrun, -m, crossfield, fit, /shared/clicks.parquet, --label, click, --model, dhen,
                           --out, /shared/runs/clicks, --device, cuda, --resume]
                 resources: {limits: {nvidia.com/gpu: 8}}
                 volumeMounts: [{name: shared, mountPath: /shared}]
             volumes: [{name: shared, persistentVolumeClaim: {claimName: shared}}]
   ```"""
SAME = """## How to see that processes agree

`python benchmarks/scale/equality.py --record` trains the same model with 1, 2 and 4 processes and compares every loss
and every weight: its table is in [experiments.md](experiments.md#several-processes-against-one). In a run of one's own
the losses in `log.jsonl` are those of the whole batch on any number of processes: with dropout 0 and
`encoder.unseen_rate` 0 they are the same to the rounding of fp32. What is exact, and what it costs:
[decision 008](decisions/008-several-processes.md)."""
FUSED = """## Tables on GPUs: TorchRec

`--set train.tables=torchrec` (`pip install 'crossfield[torchrec]'`) gives the tables to TorchRec on one GPU or many:
its planner lays each field out, whole or by rows, and FBGEMM updates rows inside the backward pass.
`--set train.table_cache=0.2` keeps tables in host memory and a fifth of their rows, those in use, on the GPU. Runs,
checkpoints and numbers are those of tables in memory: [decision 010](decisions/010-torchrec.md).

No GPU was at hand. `python benchmarks/scale/equality.py --torchrec --record` ran the CPU wheels (torchrec {torchrec},
FBGEMM {fbgemm}) with gloo: {steps} steps in fp32 against one process with tables in memory, the largest relative
difference of a step's loss and of all weights in norm, the worst of {models} models, {seeds} seeds and both layouts.
Within 1e-6 and 1e-5; loaded: what so many processes saved, loaded by one without TorchRec, equal to the bit."""
BYTES = """## Bytes inside and across hosts

`python benchmarks/scale/hosts.py --record`, run as root: two network namespaces stand for hosts, two gloo processes run
in each, an 8-layer DHEN of {size:.2f} MB of weights trains; megabytes a step by the interfaces' counters, all processes
together, beside the formula for rings (its docstring). Hybrid sharding sends the least across."""
ENGINES = """## Preparation by Polars and by Spark

`python benchmarks/scale/engines.py DATA [DATA ...] --record`, DATA being `movielens-1m` or the `train.csv` that
`benchmarks/speed/ctr_data.py` writes: the same rows encoded by both, Spark on this machine alone with {tasks} tasks
(load {load:.0f} from other runs). Spark only costs here: it is for rows that one machine cannot hold."""
TABLES = """## Tables larger than memory

`--set train.tables=disk` keeps embedding tables, what their optimiser remembers and their best weights in files beside
the run, of which the system holds in memory what is in use; the numbers are those of training in memory, to the bit. It
is for row-sparse optimisers on a CPU. A finished run is loaded that way always: tables of 64 MB or more are read where
they are, when they are asked for. What it costs and why: [decision 011](decisions/011-tables-on-disk.md).

`python benchmarks/memory/tables.py --record`, run as root: an FM of {rows:,} rows of 16 + 1 numbers ({table:.1f} GB;
{all:.1f} GB with moments and best weights) on {train:,} rows, one thread, in a memory control group; the machine had
other work too. Seconds are those of the whole fit, and of loading the run, whose files are read once to be checked:
the first time from a cold disk."""
MODEL = """## Past this machine: a model

`python benchmarks/scale/simulate.py --record` is a small model of one step on hosts of 8 GPUs, not a measurement; its
docstring says all that it assumes. The paper of DHEN says that hybrid sharding moves 1.125 times the bytes of FSDP and
trains up to 1.2 times as fast on 256 GPUs, and that data parallelism ran out of memory beyond 22 layers. Bytes past
every GPU, in sizes of the weights: FSDP gathers twice and scatters once among N GPUs, 3 (N - 1) / N, of which 3/8 ·
(M - 1) / M go across M hosts; hybrid sharding does so inside the host, 3 · 7/8, and sums its eighth across hosts, 2/8 ·
(M - 1) / M. The paper's 1.125 counts what is handed over: gradients once to the scatter, an eighth of them to the
sum."""
DEPTHS = "Milliseconds of a step, {layers} layers; ! does not fit into {memory:.0f} GB."
WINS = """How much faster hybrid sharding is than FSDP on 256 GPUs with 8 layers hangs on what a hop of a ring waits and
on how long a layer computes. Where everything hides behind computing there is nothing to win, and the last sum across
hosts, which hides behind nothing, costs 2 to 4 %; the paper's 1.2 lies where the waits of 255 hops are no longer
hidden:"""


def scale_page(
    torchrec: Sequence[Line],
    hosts: Sequence[Line],
    engines: Sequence[Line],
    tables: Sequence[Line],
    simulation: Sequence[Line],
) -> str:
    """The whole page."""
    sections = (
        fused_section(torchrec),
        bytes_section(hosts),
        engines_section(engines),
        tables_section(tables),
        model_section(simulation),
    )
    return "\n\n".join([HEAD, SAME, *(part for section in sections for part in section)]) + "\n"


def fused_section(lines: Sequence[Line]) -> list[str]:
    """A row per optimiser and number of processes: how far TorchRec's tables are from tables in memory."""
    rows = []
    for of in sorted({(line["optimizer"], line["processes"]) for line in lines}):
        some = [line for line in lines if (line["optimizer"], line["processes"]) == of]
        worst = [f"{max(line[key] for line in some):.0e}" for key in ("loss", "weights")]
        passed, exact = (f"{sum(line[key] for line in some)} of {len(some)}" for key in ("passed", "resharded"))
        rows.append([*map(str, of), *worst, passed, exact])
    last = lines[-1]
    versions = {"torchrec": last["versions"]["torchrec"], "fbgemm": last["versions"]["fbgemm-gpu-cpu"]}
    models, seeds = (len({line[key] for line in lines}) for key in ("model", "seed"))
    head = ("optimiser", "processes", "loss", "weights", "within", "loaded")
    return [FUSED.format(**versions, steps=last["steps"], models=models, seeds=seeds), markdown_table(head, rows)]


def tables_section(lines: Sequence[Line]) -> list[str]:
    """A row per process: where its tables lay, what it was allowed, and what came of it."""
    first = lines[0]
    table = first["table_rows"] * 17 * 4 / 1e9
    text = TABLES.format(rows=first["table_rows"], train=first["train_rows"], table=table, all=4 * table)
    head = ["work", "tables in", "memory allowed", "rows/s", "s", "own memory, MB", "read from disk, MB"]
    return [text, markdown_table(head, [_of_tables(one) for one in lines])]


def _of_tables(line: Line) -> list[str]:
    allowed = "all" if line["limit_gb"] is None else f"{line['limit_gb']:g} GB"
    begun = [{"train": "training", "serve": "predictions"}[line["job"]], line["tables"], allowed]
    if "killed" in line:
        return [*begun, "killed by the system", "", "", ""]
    speed, seconds = (line["train_sps"], line["seconds"]) if line["job"] == "train" else _served(line)
    return [*begun, f"{speed:,.0f}", f"{seconds:.0f}", f"{line['anonymous_mb']:,.0f}", f"{line['read_mb']:,.0f}"]


def _served(line: Line) -> tuple[float, float]:
    return line["predict_sps"], line["load_seconds"]


def engines_section(lines: Sequence[Line]) -> list[str]:
    """A row per data set: whether both engines wrote the same, and how long they took."""
    rows = []
    for line in lines:
        seconds = [f"{sum(line['seconds'][one].values()):.0f}" for one in ("polars", "spark")]
        same = "yes" if line["same_vocabularies"] and line["same_ids"] else "no"
        differ = f"{len(line['files_that_differ'])} of {line['files']}"
        gap = f"{line['max_difference_of_numbers']:g}"
        rows.append([line["data"], f"{line['rows']:,}", f"{line['ids']:,}", same, gap, differ, *seconds])
    head = ("data", "rows", "ids", "vocabularies, ids equal", "floats", "files differ", "Polars, s", "Spark, s")
    last = lines[-1]
    return [ENGINES.format(tasks=last["spark_tasks"], load=last["load"]), markdown_table(head, rows)]


def bytes_section(lines: Sequence[Line]) -> list[str]:
    """A row per way of laying out the dense part."""
    keys = ("inside", "predicted_inside", "across", "predicted_across")
    rows = [(line["way"], f"`{line['mesh']}`", *(f"{line[one] / 1e6:.2f}" for one in keys)) for line in lines]
    head = ("dense part", "train.mesh", "inside, MB", "formula", "across, MB", "formula")
    return [BYTES.format(size=lines[0]["weights_bytes"] / 1e6), markdown_table(head, rows)]


def model_section(lines: Sequence[Line]) -> list[str]:
    """A row per number of GPUs, and what decides."""
    latency, examples = (median(line[one] for line in lines) for one in ("latency", "examples"))
    plain = [line for line in lines if (line["latency"], line["examples"]) == (latency, examples)]
    parts = [MODEL]
    for layers in (8, 32):
        some = [line for line in plain if line["layers"] == layers]
        rows = [_row(gpus, [line for line in some if line["gpus"] == gpus]) for gpus in dict.fromkeys(_gpus(some))]
        head = ("GPUs", "DDP", "FSDP", "HSDP", "computing", "FSDP / HSDP", "GB inside, across: FSDP", "HSDP")
        parts += [DEPTHS.format(layers=layers, memory=some[0]["memory"]), markdown_table(head, rows)]
    deciding = [line for line in lines if (line["layers"], line["gpus"]) == (8, 256)]
    return [*parts, WINS, _wins(deciding)]


def _gpus(lines: Sequence[Line]) -> list[int]:
    return [line["gpus"] for line in lines]


def _row(gpus: int, lines: Sequence[Line]) -> list[str]:
    ways = {line["way"]: line for line in lines}
    steps = [f"{ways[one]['step_ms']:.0f}{'' if ways[one]['fits'] else '!'}" for one in ("ddp", "fsdp", "hsdp")]
    sent = [f"{ways[one]['inside_gb']:.2f}, {ways[one]['across_gb']:.2f}" for one in ("fsdp", "hsdp")]
    ratio = ways["fsdp"]["step_ms"] / ways["hsdp"]["step_ms"]
    return [str(gpus), *steps, f"{ways['ddp']['computing_ms']:.0f}", f"{ratio:.2f}", *sent]


def _wins(lines: Sequence[Line]) -> str:
    """FSDP's time over HSDP's, a row per batch, a column per wait."""
    waits = sorted({line["latency"] for line in lines})
    rows = []
    for examples in sorted({line["examples"] for line in lines}):
        steps = {(line["way"], line["latency"]): line["step_ms"] for line in lines if line["examples"] == examples}
        ratios = [f"{steps['fsdp', wait] / steps['hsdp', wait]:.2f}" for wait in waits]
        rows.append([str(examples), *ratios])
    return markdown_table(("examples per GPU", *(f"{wait:.0f} µs a hop" for wait in waits)), rows)
