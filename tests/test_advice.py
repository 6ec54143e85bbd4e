"""Each piece of advice appears where its reason does, with its number, and goes with it."""

from dataclasses import replace

import pytest

from crossfield.advice import advise, plan_text, size
from crossfield.footprint import Footprint
from crossfield.plan import FieldSize, Plan
from crossfield.probe import Probe, Timed
from crossfield.ranks import DenseShare, RankPlan, TableShare
from crossfield.recipe import Recipe
from crossfield.savings import Saving

MB = 10**6
FOOTPRINT = Footprint(
    table_parameters={"item": 400, "user": 300},
    net_parameters=300,
    weights=4000,
    optimizer=8000,
    gradients=1000,
    activations=7000,
    touched_rows=100,
    whole_tables=0,
    flops=2_000_000,
    matrix_flops=1_900_000,
)
PROBE = Probe(Timed(200, 20.0, 40_000.0), Timed(50, 9.0, 45_000.0), 3.0, threads=2, bf16=True, peak=600 * MB)
PLAN = Plan(
    recipe=Recipe.of({"model": {"name": "deepfm"}, "train": {"epochs": 10}}),
    data="clicks.parquet",
    train_rows=800_000,
    valid_rows=100_000,
    dense_features=2,
    fields=(FieldSize("item", "categorical", 2002, 400, 100), FieldSize("user", "categorical", 1002, 300, 200)),
    footprint=FOOTPRINT,
    optimizers={"lazy_adam": 8000, "sgd": 0},
    means=("bf16: this device has instructions for it", "not compiled, as asked"),
    bf16_unused=False,
    available=10**9,
    disk_free=10**12,
    probe=PROBE,
)


def only_advice(plan: Plan) -> str:
    (one,) = advise(plan)
    return one


def test_where_all_is_well_there_is_none() -> None:
    assert list(advise(PLAN)) == []
    assert "advice" not in plan_text(PLAN)


def test_memory() -> None:
    # Weights twice, for there is validation: 8000 + 8000 + 1000 + 7000.
    tight = replace(PLAN, available=23_999, savings=(Saving("train.optimizer=rowwise_adagrad", 17_000),))
    said = only_advice(tight)
    assert said == "it would not fit: 24 kB needed, 24 kB available; train.optimizer=rowwise_adagrad would need 17 kB"
    assert list(advise(replace(tight, available=24_000))) == []
    assert list(advise(replace(tight, available=None))) == []


def test_disk() -> None:
    assert "up to 48 kB and the disk has 47 kB" in only_advice(replace(PLAN, disk_free=47_000))
    assert list(advise(replace(PLAN, disk_free=48_000))) == []


def test_tables_on_disk() -> None:
    mapped = replace(PLAN, footprint=replace(FOOTPRINT, mapped_weights=3600, mapped_optimizer=7200), available=9_600)
    # 4000 and 8000 bytes less what is mapped: 400 twice and 800; gradients and activations.
    assert mapped.fits and mapped.needed == 2 * 400 + 800 + 8000
    text = plan_text(mapped)
    assert "weights 400 B, best weights 400 B, optimiser 800 B" in text
    assert "disk        14.4 kB of tables while it trains, 16 kB a checkpoint" in text
    assert "checkpoints and tables take up to 62.4 kB" in only_advice(replace(mapped, disk_free=62_000))


@pytest.mark.parametrize(
    ("parameters", "weights", "said"), [(900, 40 * MB, True), (900, 20 * MB, False), (300, 90 * MB, False)]
)
def test_one_large_table(parameters: int, weights: int, said: bool) -> None:
    # 900 of the 1,500 numbers are the item's: 60 % of the weights and as much of the state, which is twice as large.
    footprint = replace(FOOTPRINT, table_parameters={"item": parameters}, net_parameters=600, weights=weights)
    footprint = replace(footprint, optimizer=2 * weights)
    largest = replace(PLAN.fields[0], parameters=parameters)
    found = list(advise(replace(PLAN, footprint=footprint, fields=(largest, PLAN.fields[1]))))
    assert [one.startswith("item alone holds 60% of the parameters: 2,002 rows, 72 MB") for one in found] == [
        True
    ] * said


@pytest.mark.parametrize(("once", "said"), [(1000, True), (701, True), (700, False)])
def test_ids_met_once(once: int, said: bool) -> None:
    # 3,004 rows hold 3,000 ids; the user's 200 count too.
    found = list(advise(replace(PLAN, fields=(replace(PLAN.fields[0], seen_once=once), PLAN.fields[1]))))
    assert len(found) == said
    if once == 1000:
        assert "40% of the ids were met once in training (1,200 of 3,000)" in found[0]
        assert "leaves 1,804 of 3,004 table rows" in found[0]


def test_few_ids_are_no_matter() -> None:
    few = (FieldSize("item", "categorical", 1001, 400, 999),)
    assert list(advise(replace(PLAN, fields=few))) == []


def test_whole_tables_at_every_step() -> None:
    recipe = PLAN.recipe.override({"train.optimizer": "adam"})
    dense = replace(PLAN, recipe=recipe, footprint=replace(FOOTPRINT, whole_tables=2 * MB))
    said = only_advice(dense)
    assert "train.optimizer=adam" in said and "8 MB" in said and "at most 100 of 3,004 rows" in said
    busy = replace(dense.footprint, touched_rows=301)
    assert list(advise(replace(dense, footprint=busy))) == []


def test_bf16() -> None:
    unused = replace(PLAN, bf16_unused=True)
    assert "95% of the arithmetic" in only_advice(unused)
    assert list(advise(replace(unused, footprint=replace(FOOTPRINT, matrix_flops=900_000)))) == []


@pytest.mark.parametrize(("double", "said"), [(53_000.0, True), (51_000.0, False)])
def test_a_small_batch(double: float, said: bool) -> None:
    found = list(advise(replace(PLAN, probe=replace(PROBE, double=Timed(50, 9.0, double)))))
    assert ["train.batch_size=8192 trains 53,000 rows/s instead of 40,000" in one for one in found] == [True] * said
    assert list(advise(replace(PLAN, probe=replace(PROBE, double=None)))) == []


def test_text_says_every_number() -> None:
    text = plan_text(PLAN)
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines["deepfm"] == "on clicks.parquet"
    assert lines["rows"].startswith("800,000 for training, 100,000 for validation")
    assert lines["fields"] == "2 with ids, 3,004 table rows (item 2,002, user 1,002); 2 dense"
    assert lines["parameters"] == "1,000: 700 in tables, 300 in the rest"
    assert lines["memory"] == (
        "24 kB counted, 1 GB available: "
        "weights 4 kB, best weights 4 kB, optimiser 8 kB, gradients 1 kB, activations 7 kB"
    )
    assert lines["optimiser"] == "lazy_adam keeps 8 kB; it would be 0 B with sgd"
    assert lines["disk"] == "16 kB a checkpoint, 3 at most; 1 TB free"
    # Two more products of matrices behind each: 2 M + 2 x 1.9 M.
    assert lines["arithmetic"].endswith("1.9 M of them in products of matrices; 5.8 MFLOPs in training")
    assert "200 steps of 4,096 rows in 20 s (2 threads, bf16, not compiled): 40,000 rows/s" in lines["probe"]
    # 800,000 rows at 40,000 a second, 10 times, and 10 evaluations of 3 s.
    assert (
        lines["time"] == "20 s an epoch, 3 s an evaluation: 4 min for train.epochs=10, less where training stops early"
    )


def test_text_without_a_probe_says_why() -> None:
    text = plan_text(replace(PLAN, probe=None, no_probe="not asked for", available=None, valid_rows=0))
    assert "probe       none: not asked for" in text and "\ntime" not in text
    assert "20 kB counted, unknown available" in text and "best weights" not in text


RANKS = RankPlan(
    ranks=8,
    steps=4,
    slice_examples=512.0,
    whole=4000,
    tables=(
        TableShare("vectors.ids", ("item", "user"), 3004, 16, True, 576_772, 72_196, 300.4, 1200, 1.234, 2e3, 4e3, 4e3),
        TableShare("linear.ids", tuple("abcde"), 3004, 1, False, 36_000, 36_000, 300.4, 1200, None, 0.0, 0.0, 5e3),
    ),
    dense=DenseShare(300, replicas=1, shards=8, bytes=3600, rank_bytes=450, gathered=1200, sent=2100.0),
    balance=1.234,
    balance_of_ids=3.5,
)


def test_text_of_several_ranks() -> None:
    lines = [one.split(maxsplit=1) for one in plan_text(replace(PLAN, ranks=RANKS)).splitlines()]
    said = {words[0]: words[1] for words in lines}
    assert said["ranks"].startswith("8, 512 examples each in a step: 109 kB of weights and optimiser's state")
    assert [words[1] for words in lines if words[0] == "table"] == [
        "vectors.ids (item, user): 3,004 x 16, 577 kB, by rows, 72.2 kB a rank; "
        "a rank names 300 rows, all 1,200, balance 1.23",
        "linear.ids (5 fields): 3,004 x 1, 36 kB, on every rank; a rank names 300 rows, all 1,200",
    ]
    assert (
        said["dense"] == "part  300 weights, 3.6 kB, FSDP, 1 x 8 shards: 450 B a rank, 1.2 kB more while a step lasts"
    )
    assert said["sent"] == (
        "17.1 kB by a rank in a step: ids 2 kB, vectors 4 kB, row gradients 9 kB, dense part 2.1 kB"
    )
    assert "asked for 1.23 times the mean of rows; it would be 3.50 if every id" in said["balance"]
    replicas = replace(RANKS, dense=replace(RANKS.dense, replicas=2, shards=4), balance=None)
    text = plan_text(replace(PLAN, ranks=replicas))
    assert "HSDP, 2 x 4 shards" in text and "balance     no table lies by rows" in text
    assert "ranks" not in plan_text(PLAN)


def test_advice_stands_at_the_end() -> None:
    assert plan_text(replace(PLAN, bf16_unused=True)).splitlines()[-2] == "advice"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (1500, "1.5 kB"), (2.06e10, "20.6 GB"), (3e15, "3 PB")],
)
def test_sizes(value: float, text: str) -> None:
    assert size(value) == text
