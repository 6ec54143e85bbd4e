"""What a plan says in words: its numbers as text, and what to change where a run would not fit or would be slow."""

from collections.abc import Iterator

from crossfield.console import duration
from crossfield.plan import Plan
from crossfield.probe import Probe
from crossfield.ranks import DenseShare, RankPlan, TableShare

CHECKPOINTS = 3
"""On disk at most: two are kept while a third is written."""
_LARGE = 50_000_000
"""Bytes from which one table is worth a word."""
_MANY = 1000
"""Ids from which those met once are worth a word."""
_SHOWN = 4
"""Fields named in the text."""


def advise(plan: Plan) -> Iterator[str]:
    """One sentence for each thing worth changing, with its number; none where all is well."""
    for part in (_on_memory, _on_disk, _on_largest_table, _on_rare_ids, _on_whole_tables, _on_bf16, _on_batch):
        yield from part(plan)


def _on_memory(plan: Plan) -> Iterator[str]:
    if plan.available is not None and not plan.fits:
        tried = "".join(f"; {one.setting} would need {size(one.needed)}" for one in plan.savings)
        yield f"it would not fit: {size(plan.needed)} needed, {size(plan.available)} available{tried}"


def _on_disk(plan: Plan) -> Iterator[str]:
    wanted = CHECKPOINTS * plan.checkpoint + plan.mapped
    if wanted > plan.disk_free:
        what = "checkpoints and tables" if plan.mapped else "checkpoints"
        yield (
            f"{what} take up to {size(wanted)} and the disk has {size(plan.disk_free)}: name an --out elsewhere, "
            "or make the tables smaller"
        )


def _on_largest_table(plan: Plan) -> Iterator[str]:
    parameters, taken = plan.footprint.parameters, plan.footprint.weights + plan.footprint.optimizer
    for one in plan.fields[:1]:
        share = one.parameters / max(parameters, 1)
        if share > 0.5 and share * taken > _LARGE:
            key = f"encoder.features.{one.name}"
            yield (
                f"{one.name} alone holds {share:.0%} of the parameters: {one.rows:,} rows, {size(share * taken)} with "
                f"their optimiser's state; {key}.min_count or {key}.hash_buckets makes it smaller"
            )


def _on_rare_ids(plan: Plan) -> Iterator[str]:
    num_ids, once = plan.table_rows - 2 * len(plan.fields), sum(one.seen_once for one in plan.fields)
    if num_ids >= _MANY and once > 0.3 * num_ids:
        yield (
            f"{once / num_ids:.0%} of the ids were met once in training ({once:,} of {num_ids:,}): encoder.min_count=2 "
            f"counts them as unseen and leaves {plan.table_rows - once:,} of {plan.table_rows:,} table rows"
        )


def _on_whole_tables(plan: Plan) -> Iterator[str]:
    whole, touched = plan.footprint.whole_tables, plan.footprint.touched_rows
    if whole and plan.table_rows > 10 * touched:
        yield (
            f"train.optimizer={plan.recipe.train.optimizer} goes through whole tables at every step: {size(4 * whole)} "
            f"of weights, gradients and moments for at most {touched:,} of {plan.table_rows:,} rows; "
            "lazy_adam changes only these"
        )


def _on_bf16(plan: Plan) -> Iterator[str]:
    share = plan.footprint.matrix_flops / max(plan.footprint.flops, 1)
    if plan.bf16_unused and share > 0.5:
        yield (
            f"this device has bf16 instructions, and {share:.0%} of the arithmetic is products of matrices: "
            "train.precision=auto would use them"
        )


def _on_batch(plan: Plan) -> Iterator[str]:
    if plan.probe is None or plan.probe.double is None:
        return
    now, then = plan.probe.timed.rows_per_second, plan.probe.double.rows_per_second
    if then > 1.3 * now:
        yield (
            f"the batch is small for this machine: train.batch_size={2 * plan.recipe.train.batch_size} trains "
            f"{then:,.0f} rows/s instead of {now:,.0f}; fewer steps learn less each epoch, so compare the results"
        )


# Text


def plan_text(plan: Plan) -> str:
    """The plan as a person reads it, one topic a line, advice at the end."""
    named = {
        "rows": _rows(plan),
        "fields": _fields(plan),
        "parameters": _parameters(plan),
        "memory": _memory(plan),
        "optimiser": _optimizers(plan),
        "disk": _disk(plan),
        "arithmetic": _arithmetic(plan),
        "means": "; ".join(plan.means),
        "probe": f"none: {plan.no_probe}" if plan.probe is None else _probe(plan, plan.probe),
        "time": _time(plan),
    }
    more = [] if plan.ranks is None else list(_ranks(plan.ranks))
    lines = [f"{name:<12}{text}" for name, text in [*named.items(), *more] if text]
    advice = [f"- {one}" for one in advise(plan)]
    return "\n".join([f"{plan.recipe.name} on {plan.data}", *lines, *(["advice", *advice] if advice else [])])


def _rows(plan: Plan) -> str:
    seconds = duration(plan.reading_seconds)
    return f"{plan.train_rows:,} for training, {plan.valid_rows:,} for validation; read in {seconds}"


def _fields(plan: Plan) -> str:
    largest = ", ".join(f"{one.name} {one.rows:,}" for one in plan.fields[:_SHOWN])
    more = ", ..." if len(plan.fields) > _SHOWN else ""
    rows = f", {plan.table_rows:,} table rows ({largest}{more})" if plan.fields else ""
    return f"{len(plan.fields)} with ids{rows}; {plan.dense_features} dense"


def _parameters(plan: Plan) -> str:
    footprint = plan.footprint
    tables = footprint.parameters - footprint.net_parameters
    return f"{footprint.parameters:,}: {tables:,} in tables, {footprint.net_parameters:,} in the rest"


def _memory(plan: Plan) -> str:
    one, available = plan.footprint, "unknown" if plan.available is None else size(plan.available)
    weights = one.weights - one.mapped_weights
    parts = {
        "weights": weights,
        "best weights": weights if plan.keeps_best else 0,
        "optimiser": one.optimizer - one.mapped_optimizer,
        "gradients": one.gradients,
        "activations": one.activations,
    }
    listed = ", ".join(f"{name} {size(value)}" for name, value in parts.items() if value)
    return f"{size(plan.needed)} counted, {available} available: {listed}"


def _disk(plan: Plan) -> str:
    if plan.is_solved:
        return f"no checkpoints; {size(plan.disk_free)} free"
    tables = f"{size(plan.mapped)} of tables while it trains, " if plan.mapped else ""
    return f"{tables}{size(plan.checkpoint)} a checkpoint, {CHECKPOINTS} at most; {size(plan.disk_free)} free"


def _optimizers(plan: Plan) -> str:
    chosen = plan.recipe.train.optimizer
    others = ", ".join(f"{size(value)} with {name}" for name, value in plan.optimizers.items() if name != chosen)
    return f"{chosen} keeps {size(plan.footprint.optimizer)}; it would be {others}" if plan.footprint.optimizer else ""


def _arithmetic(plan: Plan) -> str:
    one = plan.footprint
    return (
        f"{_short(one.flops)}FLOPs an example forward, {_short(one.matrix_flops)} of them in products of matrices; "
        f"{_short(one.training_flops)}FLOPs in training"
    )


def _probe(plan: Plan, probe: Probe) -> str:
    rows = min(plan.recipe.train.batch_size, plan.train_rows)
    threads = f"{probe.threads} thread{'s' if probe.threads > 1 else ''}"
    return (
        f"{probe.timed.steps} steps of {rows:,} rows in {duration(probe.timed.seconds)} ({threads}, "
        f"{'bf16' if probe.bf16 else 'fp32'}, not compiled): {probe.timed.rows_per_second:,.0f} rows/s; "
        f"this program took {size(probe.peak)} at most"
    )


def _time(plan: Plan) -> str:
    if plan.probe is None or plan.epoch_seconds is None or plan.total_seconds is None:
        return ""
    evaluation = plan.probe.evaluation_seconds
    measured = "" if evaluation is None else f", {duration(evaluation)} an evaluation"
    return (
        f"{duration(plan.epoch_seconds)} an epoch{measured}: {duration(plan.total_seconds)} for "
        f"train.epochs={plan.recipe.train.epochs}, less where training stops early"
    )


def _ranks(plan: RankPlan) -> Iterator[tuple[str, str]]:
    yield (
        "ranks",
        f"{plan.ranks}, {plan.slice_examples:,.0f} examples each in a step: {size(plan.rank_bytes)} of weights and "
        f"optimiser's state on the fullest, {size(plan.whole)} of weights on each before tables are shared out",
    )
    for one in plan.tables:
        yield "table", _table(one)
    yield "dense part", _dense(plan.dense)
    sent = ", ".join(f"{name.replace('_', ' ')} {size(value)}" for name, value in plan.sent.items() if value)
    yield "sent", f"{size(sum(plan.sent.values()))} by a rank in a step{f': {sent}' if sent else ''}"
    if plan.balance is None:
        yield "balance", "no table lies by rows"
    else:
        yield (
            "balance",
            f"the busiest rank is asked for {plan.balance:.2f} times the mean of rows; it would be "
            f"{plan.balance_of_ids:.2f} if every id were asked for, not every distinct one ({plan.steps} steps)",
        )


def _table(one: TableShare) -> str:
    fields = ", ".join(one.fields) if len(one.fields) <= _SHOWN else f"{len(one.fields)} fields"
    lies = f"by rows, {size(one.rank_bytes)} a rank" if one.by_rows else "on every rank"
    balance = "" if one.balance is None else f", balance {one.balance:.2f}"
    return (
        f"{one.name} ({fields}): {one.rows:,} x {one.dim}, {size(one.bytes)}, {lies}; a rank names "
        f"{one.slice_rows:,.0f} rows, all {one.batch_rows:,.0f}{balance}"
    )


def _dense(one: DenseShare) -> str:
    if one.shards == 1:
        lies = "replicated"
    else:
        lies = f"{'HSDP' if one.replicas > 1 else 'FSDP'}, {one.replicas} x {one.shards} shards"
    together = f", {size(one.gathered)} more while a step lasts" if one.gathered else ""
    return f"{one.parameters:,} weights, {size(one.bytes)}, {lies}: {size(one.rank_bytes)} a rank{together}"


def size(value: float) -> str:
    """Bytes as a person reads them, three digits: 812 B, 1.91 MB, 20.6 GB."""
    return f"{_short(value)}B"


def _short(value: float) -> str:
    """Three digits, a space, and the prefix of a unit: 1.91 M."""
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5:
            return f"{value:.3g} {prefix}"
        value /= 1000
    return f"{value:,.0f} P"
