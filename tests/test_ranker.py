import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import crossfield as cf
from crossfield.bundle import Bundle
from crossfield.calibration import Platt
from crossfield.data.public import RankingTest
from crossfield.data.source import Layout
from crossfield.errors import ConfigError, DataError, RunError, SchemaError
from crossfield.files import read_lines, sha256_of
from crossfield.metrics import probability
from crossfield.preparation import Prepared, write_prepared
from crossfield.ranker import split_off

from .journeys.conftest import click_log

TRAIN = {"epochs": 4, "batch_size": 256, "lr": 0.01, "compile": "off"}
ROLES = {"label": "click", "user": "user_id", "item": "item_id", "time": "ts"}


@pytest.fixture(scope="module")
def ranker() -> cf.Ranker:
    train, valid = cf.load(click_log(), quiet=True, **ROLES).split(sizes=(0.8, 0.2))
    return cf.Ranker("deepfm", embedding_dim=8, deep=(16,), train=TRAIN).fit(train, valid, quiet=True)


def test_predict_takes_any_shape_of_rows_and_gives_one_number_each(ranker: cf.Ranker, tmp_path: Path) -> None:
    rows = click_log(40, seed=5).drop("click", "ts")
    rows.write_csv(tmp_path / "rows.csv")
    expected = ranker.predict(rows)
    assert expected.shape == (40,) and ((expected > 0) & (expected < 1)).all()
    for same in (rows.lazy(), rows.to_arrow(), rows.to_pandas(), rows.to_dicts(), tmp_path / "rows.csv"):
        np.testing.assert_allclose(ranker.predict(same), expected, atol=1e-7)
    np.testing.assert_allclose(ranker.predict(rows.to_dicts()[3]), expected[3:4], atol=1e-7)
    np.testing.assert_allclose(ranker.predict(rows.reverse()), expected[::-1], atol=1e-7)


def test_strangers_get_a_number(ranker: cf.Ranker) -> None:
    strangers = {"user_id": "nobody", "item_id": None, "genres": "Western|", "age": None}
    assert 0 < ranker.predict(strangers)[0] < 1


def test_no_rows_give_no_numbers_but_a_file_without_rows_is_a_mistake(ranker: cf.Ranker, tmp_path: Path) -> None:
    none = click_log(5).head(0)
    for empty in ([], none, none.lazy(), none.to_arrow(), none.to_pandas(), pl.DataFrame()):
        scores = ranker.predict(empty)
        assert (scores.shape, scores.dtype) == ((0,), np.float64)
    for name, write in (("rows.csv", none.write_csv), ("rows.parquet", none.write_parquet)):
        write(tmp_path / name)
        with pytest.raises(DataError, match="no rows"):
            ranker.predict(tmp_path / name)
    with pytest.raises(DataError, match="no rows"):
        ranker.predict({})


def test_gaps_of_pandas_are_gaps_in_every_shape_of_rows(ranker: cf.Ranker) -> None:
    gap = pl.int_range(pl.len()) % 3 == 0
    rows = (
        click_log(30, seed=7)
        .drop("click", "ts")
        .with_columns(pl.when(~gap).then(pl.col(name)).alias(name) for name in ("user_id", "item_id", "genres", "age"))
    )
    expected, pandas = ranker.predict(rows), rows.to_pandas()
    np.testing.assert_allclose(ranker.predict(pandas), expected, atol=1e-7)
    np.testing.assert_allclose(ranker.predict(pandas.to_dict("records")), expected, atol=1e-7)
    np.testing.assert_allclose(ranker.predict(pandas.to_dict("records")[0]), expected[:1], atol=1e-7)
    np.testing.assert_allclose(ranker.predict(pandas.head(1)), expected[:1], atol=1e-7)


def test_files_to_predict_are_read_as_those_to_train_on(tmp_path: Path) -> None:
    path, gap = tmp_path / "log.txt", pl.int_range(pl.len()) % 3 == 0
    log = click_log(300).with_columns(
        pl.when(gap).then(pl.lit("?")).otherwise(pl.col(name).cast(pl.String)).alias(name) for name in ("age", "genres")
    )
    log.write_csv(path, separator=";", include_header=False)
    layout = Layout(columns=tuple(log.columns), header=False, separator=";", missing=("?",))
    train, valid = cf.load(path, label="click", layout=layout, quiet=True).split("random", sizes=(0.8, 0.2))
    ranker = cf.Ranker("fm", train=TRAIN).fit(train, valid, out=tmp_path / "run", quiet=True)
    expected = ranker.predict(log.with_columns(pl.col("age", "genres").replace("?", None)))
    np.testing.assert_array_equal(cf.Ranker.load(tmp_path / "run").predict(path), expected)


def test_a_column_that_training_cannot_have_met_is_noted(ranker: cf.Ranker, capsys: pytest.CaptureFixture[str]) -> None:
    rows = click_log(40, seed=5)
    ranker.predict(rows)
    assert capsys.readouterr().err == ""
    other = rows.with_columns(pl.col("item_id").cast(pl.String) + "x")
    ranker.predict(other)
    assert "none of the 40 values of 'item_id' was met in training" in capsys.readouterr().err
    ranker.evaluate(other, intervals=False)
    assert "'item_id'" in capsys.readouterr().err
    ranker.predict(other, quiet=True)
    ranker.evaluate(other, intervals=False, quiet=True)
    assert capsys.readouterr().err == ""


def test_a_single_user_needs_no_list(ranker: cf.Ranker) -> None:
    assert ranker.recommend("u17", 3).equals(ranker.recommend(["u17"], 3))
    assert ranker.recommend("u17", 3)["known"].all()
    for users in (17.0, np.float64(17), 17):
        assert ranker.recommend(users, 3)["known"].to_list() == [False] * 3
    assert ranker.recommend(["u17", 3], 1)["user_id"].to_list() == ["u17", "3"]


@pytest.mark.parametrize("k", [0, "3", 2.0, None])
def test_recommendations_are_a_whole_number(ranker: cf.Ranker, k: Any) -> None:
    with pytest.raises(ConfigError, match=f"k is {k!r}; ask for a whole number of items, 1 or more"):
        ranker.recommend("u17", k)


def test_evaluate_beats_chance_and_slices_add_up(ranker: cf.Ranker) -> None:
    report = ranker.evaluate(click_log(2000, seed=9))
    assert report["auc"] > 0.85
    assert report["ne"] < 0.8
    low, high = report["intervals"]["auc"]
    assert low < report["auc"] < high
    users = [one["n"] for name, one in report["slices"].items() if name.startswith("user:")]
    assert sum(users) == report["n"] == 2000
    json.dumps(report, allow_nan=False)


def test_rows_loaded_with_another_label_are_refused(ranker: cf.Ranker, tmp_path: Path) -> None:
    log = click_log(400).with_columns(bought=1 - pl.col("click"))
    other = cf.load(log, quiet=True, **{**ROLES, "label": "bought"})
    with pytest.raises(
        ConfigError, match=r"frame: loaded with the label bought, but .* have click; load .*label='click'"
    ):
        ranker.evaluate(other)
    train = cf.load(log.drop("bought"), quiet=True, **ROLES)
    for refused in (
        lambda: ranker.calibrate(other),
        lambda: ranker.update(other),
        lambda: ranker.update(train, other),
        lambda: cf.Ranker("fm", train=TRAIN).fit(train, other, quiet=True),
        lambda: cf.Ranker("fm", train=TRAIN).fit(train, test=other, quiet=True),
    ):
        with pytest.raises(ConfigError, match="loaded with the label bought"):
            refused()
    yes = train.frame.collect().with_columns(
        pl.when(pl.col("click") == 1).then(pl.lit("True")).otherwise(pl.lit("False"))
    )
    yes = yes.drop("click").rename({"literal": "click"})
    assert ranker.evaluate(cf.load(yes, quiet=True, **ROLES), intervals=False) == ranker.evaluate(
        train, intervals=False
    )


def test_labelled_rows_are_no_implicit_pairs() -> None:
    pairs = click_log(300).select("user_id", "item_id")
    roles = {"user": "user_id", "item": "item_id"}
    ranker = cf.Ranker("popularity", train=TRAIN).fit(cf.load(pairs, quiet=True, **roles), quiet=True)
    labelled = cf.load(click_log(300), quiet=True, **ROLES)
    with pytest.raises(ConfigError, match="loaded with the label click, but the training rows have none, all are pos"):
        ranker.evaluate(labelled)


def test_a_label_written_another_way_is_not_taken_for_no() -> None:
    log = click_log(400).with_columns(
        pl.when(pl.col("click") == 1).then(pl.lit("yes")).otherwise(pl.lit("no")).alias("click")
    )
    ranker = cf.Ranker("fm", train=TRAIN, data={"label": "click", "positive": "yes"}).fit(log, log, quiet=True)
    assert ranker.evaluate(log)["positives"] == (log["click"] == "yes").sum()
    with pytest.raises(DataError, match="has click==yes"):
        ranker.evaluate(log.with_columns(pl.col("click") + "."))


def test_save_and_load_give_equal_scores(ranker: cf.Ranker, tmp_path: Path) -> None:
    rows = click_log(100, seed=3)
    ranker.save(tmp_path / "run")
    again = cf.Ranker.load(tmp_path / "run")
    np.testing.assert_array_equal(again.predict(rows), ranker.predict(rows))
    assert again.recipe == ranker.recipe
    assert again.schema == ranker.schema
    left, right = again.recommend(["u1"], 5), ranker.recommend(["u1"], 5)
    assert left.equals(right)


def test_recommend_leaves_out_what_was_seen_and_flags_strangers(ranker: cf.Ranker) -> None:
    log = click_log().head(3200)  # the training part
    top = ranker.recommend(["u3", "nobody"], 5)
    seen = set(log.filter(pl.col("user_id") == "u3")["item_id"])
    mine = top.filter(pl.col("user_id") == "u3")
    assert not seen & set(mine["item_id"])
    assert mine["rank"].to_list() == list(range(1, len(mine) + 1))
    assert mine["score"].is_sorted(descending=True)
    assert top.filter(pl.col("user_id") == "nobody")["known"].to_list() == [False] * 5
    everything = ranker.recommend(["u3"], 40, filter_seen=False)
    assert len(everything) == 40


def test_ids_that_are_text_stay_text_in_recommendations() -> None:
    log = click_log(400).select("user_id", item_id=pl.format("item {}", "item_id")).unique(maintain_order=True)
    ranker = cf.Ranker("popularity").fit(cf.load(log, user="user_id", item="item_id", quiet=True), quiet=True)
    top = ranker.recommend(["u3"], 2)
    assert top["user_id"].to_list() == ["u3", "u3"] and top["item_id"].str.starts_with("item ").all()


def test_recommendations_hold_integers_where_ids_always_were() -> None:
    pairs = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": [7, 8, 8, 9, 7]})
    huge = pl.lit(2**63, pl.UInt64)
    large = pairs.with_columns(pl.col("user").cast(pl.UInt64) + huge, pl.col("item").cast(pl.UInt64))
    roles = {"user": "user", "item": "item"}
    train = {"epochs": 1, "compile": "off", "threads": 1}

    def recommended(rows: pl.DataFrame, more: pl.DataFrame | None = None, **encoder: object) -> pl.DataFrame:
        mine = cf.Ranker("mf", train=train, encoder=encoder).fit(cf.load(rows, quiet=True, **roles), None, quiet=True)
        return (mine if more is None else mine.update(more, quiet=True)).recommend(k=1)

    assert recommended(pairs).dtypes[:2] == [pl.Int64, pl.Int64]
    found = recommended(large)
    assert found.dtypes[:2] == [pl.UInt64, pl.Int64] and found["user"].min() == 2**63 + 1
    named = pairs.with_columns(user=pl.format("u{}", "user"))
    both = recommended(named, pairs)
    assert both.dtypes[:2] == [pl.String, pl.Int64] and {"u1", "1"} <= set(both["user"])
    with pytest.raises(SchemaError, match=r"'item' is hashed into 50 ids, .*leave encoder\.hash_buckets out"):
        recommended(pairs, hash_buckets=50)


def test_implicit_pairs_are_ranked(tmp_path: Path) -> None:
    log = click_log(6000).filter(pl.col("click") == 1).select("user_id", "item_id").unique(maintain_order=True)
    data = cf.load(log, user="user_id", item="item_id", quiet=True)
    train, valid, test = data.split("leave_one_out")
    ranker = cf.Ranker("gmf", train={**TRAIN, "epochs": 20}).fit(train, valid, quiet=True)
    report = ranker.evaluate(test)
    floor = cf.Ranker("popularity").fit(train, valid, quiet=True).evaluate(test)
    assert report["hr@10"] > floor["hr@10"]
    pairs = test.frame.collect()
    negatives = np.tile(np.arange(100, 120), (len(pairs), 1))
    among = ranker.evaluate(RankingTest(pairs, negatives))
    assert 0 < among["hr@5"] <= 1
    for one in (report, among):
        for role in ("user", "item"):
            assert sum(part["n"] for name, part in one["slices"].items() if name.startswith(role)) >= one["n"], role
    assert "intervals" not in ranker.evaluate(test, intervals=False)


def test_validation_among_all_items_is_what_evaluation_says_of_the_kept_weights() -> None:
    log = click_log(6000).filter(pl.col("click") == 1).select("user_id", "item_id").unique(maintain_order=True)
    train, valid = cf.load(log, user="user_id", item="item_id", quiet=True).split("random", sizes=(0.8, 0.2), seed=1)
    choice = {"monitor_items": "all", "monitor": "recall@20", "patience": 1}
    ranker = cf.Ranker("gmf", train={**TRAIN, **choice, "epochs": 6}).fit(train, valid, quiet=True)
    said, found = ranker.about["valid"], ranker.evaluate(valid, ks=(10, 20), intervals=False)
    assert said == pytest.approx({name: found[name] for name in ("hr@10", "ndcg@10", "recall@20", "ndcg@20")})
    best = max(ranker.about["history"], key=lambda one: one["recall@20"])
    assert (best["epoch"], best["recall@20"]) == (ranker.about["best_epoch"], said["recall@20"])


def test_neumf_starts_from_a_trained_gmf_and_mlp(tmp_path: Path) -> None:
    log = click_log(3000).filter(pl.col("click") == 1).select("user_id", "item_id").unique(maintain_order=True)
    train, valid, _ = cf.load(log, user="user_id", item="item_id", quiet=True).split("leave_one_out")
    runs = {name: tmp_path / name for name in ("gmf", "mlp")}
    for name, run in runs.items():
        width = {"embedding_dim": 8 if name == "gmf" else 32}
        cf.Ranker(name, train=TRAIN, **width).fit(train, valid, out=run, quiet=True)
    start = [str(run) for run in runs.values()]
    fused = cf.Ranker("neumf", train={"epochs": 1, "lr": 1e-12, "optimizer": "sgd", "start_from": start})
    fused.fit(train, valid, quiet=True)
    parts = [cf.Ranker.load(run) for run in runs.values()]
    logit = np.mean([np.log(p / (1 - p)) for p in (one.predict(log) for one in parts)], axis=0)
    np.testing.assert_allclose(fused.predict(log), 1 / (1 + np.exp(-logit)), atol=1e-4)
    with pytest.raises(ConfigError, match="trained on other rows"):
        cf.Ranker("neumf", train={"start_from": start}).fit(valid, valid, quiet=True)


def test_kept_negatives_are_corrected_for() -> None:
    log = click_log(6000).drop("ts")
    train = {**TRAIN, "epochs": 6}
    thinned = cf.Ranker("logistic_regression", train=train, data={"label": "click", "negative_rate": 0.3})
    thinned.fit(log, log, quiet=True)
    assert thinned.predict(log).mean() == pytest.approx(log["click"].mean(), abs=0.03)
    assert thinned.about["train_rows"] < 4800
    # What decides when to stop, and the rate that is kept, are those of the whole data.
    found = thinned.evaluate(log, intervals=False)
    assert thinned.about["valid"]["log_loss"] == pytest.approx(found["log_loss"], abs=1e-6)
    assert thinned.about["train_rate"] == pytest.approx(log["click"].mean())


def test_mistakes_before_training() -> None:
    with pytest.raises(RunError, match="not trained yet"):
        cf.Ranker("fm").predict(click_log(3))
    with pytest.raises(SchemaError, match="no label"):
        cf.Ranker("fm").fit(click_log(30), quiet=True)
    with pytest.raises(ConfigError, match=r"unknown key 'model\.embeding_dim'; did you mean 'embedding_dim'"):
        cf.Ranker("fm", embeding_dim=3)
    with pytest.raises(SchemaError, match="user"):
        cf.Ranker("mf", train=TRAIN, data={"label": "click"}).fit(click_log(300), quiet=True)


@pytest.mark.parametrize("bad", [20, 350, 399])
def test_a_bad_label_of_any_part_is_named_with_its_row_before_training(
    bad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfield.fitting._trainer", lambda *_, **__: pytest.fail("training began"))
    log = click_log(400).with_columns(click=pl.when(pl.int_range(pl.len()) != bad).then("click"))
    train, valid, test = cf.load(log, quiet=True, **ROLES).split("time")
    with pytest.raises(DataError, match=rf"^Polars frame: label 'click' is missing in row {bad} \(counted"):
        cf.Ranker("mf", train=TRAIN).fit(train, valid, test=test, quiet=True)


def test_test_rows_without_a_column_are_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfield.fitting._trainer", lambda *_, **__: pytest.fail("training began"))
    train, test = cf.load(click_log(400), quiet=True, **ROLES).split("random", sizes=(0.8, 0.2))
    with pytest.raises(SchemaError, match="has no column 'age'"):
        cf.Ranker("mf", train=TRAIN).fit(train, test=replace(test, frame=test.frame.drop("age")), quiet=True)


def test_a_run_in_the_way_is_not_touched(ranker: cf.Ranker, tmp_path: Path) -> None:
    ranker.save(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="finished run"):
        cf.Ranker("fm", data=ROLES, train=TRAIN).fit(click_log(300), out=tmp_path, quiet=True)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_saved_run_is_replaced_only_when_asked_to(ranker: cf.Ranker, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ranker.save(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"finished run; .*overwrite=True"):
        ranker.save(run)
    assert all(path.read_bytes() == content for path, content in before.items())
    ranker.save(run, overwrite=True)
    (tmp_path / "other" / "work").mkdir(parents=True)
    with pytest.raises(RunError, match="unfinished run"):
        ranker.save(tmp_path / "other")
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match="cannot make the folder"):
            ranker.save(place)


def test_what_a_user_has_in_a_folder_is_never_replaced_by_a_run(ranker: cf.Ranker, tmp_path: Path) -> None:
    for name in ("training/clicks.csv", "encoder/notes.txt", "work/thesis.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("mine")
    data = cf.load(click_log(300), label="click", quiet=True)
    fresh = cf.Ranker("fm", train=TRAIN)
    for write in (
        lambda: fresh.fit(data, data, out=tmp_path, quiet=True),
        lambda: fresh.fit(data, data, out=tmp_path, resume=True, quiet=True),
        lambda: fresh.fit(data, data, out=tmp_path, overwrite=True, quiet=True),
        lambda: ranker.save(tmp_path, overwrite=True),
        lambda: ranker.update(click_log(30), out=tmp_path, quiet=True),
    ):
        with pytest.raises(RunError, match="holds encoder, training, work, which no run wrote"):
            write()
    assert {one.read_text() for one in tmp_path.rglob("*.*") if one.name != ".lock"} == {"mine"}
    with pytest.raises(RunError, match="not trained"):
        _ = fresh.bundle


def test_a_fit_that_fails_before_a_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    log, run = click_log(300), tmp_path / "run"
    bad = log.with_columns(pl.Series("click", [2, *log["click"][1:]]))
    with pytest.raises(DataError, match="row 0"):
        cf.Ranker("fm", data={"label": "click"}, train=TRAIN).fit(bad, bad, out=run, quiet=True)
    assert list(tmp_path.iterdir()) == []
    run.mkdir()
    (run / "notes.txt").touch()
    with pytest.raises(DataError, match="row 0"):
        cf.Ranker("fm", data={"label": "click"}, train=TRAIN).fit(bad, bad, out=run, quiet=True)
    assert {one.name for one in run.iterdir()} == {"notes.txt", ".lock"}


def _fail(*_: object, **__: object) -> None:
    """What stops a fit when all is trained."""
    raise DataError("the test rows are gone")


def test_what_a_failed_fit_can_be_resumed_from_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, kept = click_log(300), tmp_path / "run" / "work"
    ranker = cf.Ranker("fm", data={"label": "click"}, train={**TRAIN, "checkpoint_seconds": 0})
    data = cf.load(log, label="click", quiet=True)
    monkeypatch.setattr(cf.Ranker, "_measure", _fail)
    for resume in (False, True):
        with pytest.raises(DataError, match="are gone"):
            ranker.fit(data, data, out=tmp_path / "run", quiet=True, resume=resume)
        assert list((kept / "checkpoints").glob("checkpoint-*"))
    with pytest.raises(RunError, match="unfinished run"):
        ranker.fit(data, data, out=tmp_path / "run", quiet=True)


def test_a_finished_run_is_returned_only_for_the_same_settings_and_rows(tmp_path: Path) -> None:
    log, out = click_log(300), tmp_path / "run"
    log.write_csv(tmp_path / "log.csv")

    def fit(model: str = "fm", label: str = "click", **train: object) -> cf.Ranker:
        data = cf.load(tmp_path / "log.csv", label=label, quiet=True)
        return cf.Ranker(model, train={**TRAIN, **train}).fit(data, data, out=out, resume=True, quiet=True)

    weights = fit().predict(log)
    np.testing.assert_array_equal(fit(threads=1, checkpoint_seconds=5.0).predict(log), weights)
    with pytest.raises(ConfigError, match=r"model\.name was 'fm' .* 'popularity' now"):
        fit("popularity")
    for changed in ({"lr": 0.5}, {"epochs": 20}, {"patience": 9}):
        with pytest.raises(ConfigError, match=rf"train\.{next(iter(changed))} was .*--overwrite"):
            fit(**changed)
    with pytest.raises(ConfigError, match="with another schema"):
        fit(label="age>=40")
    log.reverse().write_csv(tmp_path / "log.csv")
    with pytest.raises(ConfigError, match="on other rows"):
        fit()


def test_an_interrupted_overwrite_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, run = cf.load(click_log(300), label="click", quiet=True), tmp_path / "run"

    def fit(lr: float, **how: bool) -> list[str]:
        ranker = cf.Ranker("fm", train={**TRAIN, "lr": lr, "checkpoint_seconds": 0})
        ranker.fit(data, data, out=run, quiet=True, **how)
        assert not (run / "work").exists() and ranker.recipe.train.lr == Bundle.load(run).recipe.train.lr
        return [one["note"] for one in read_lines(run / "log.jsonl") if one["kind"] == "start"]

    def interrupted(lr: float, **how: bool) -> None:
        with monkeypatch.context() as patch, pytest.raises(DataError, match="are gone"):
            patch.setattr(cf.Ranker, "_measure", _fail)
            fit(lr, **how)

    fit(0.1)
    for how in ({"resume": True}, {"resume": True, "overwrite": True}):
        interrupted(0.2, overwrite=True)
        assert Bundle.load(run).recipe.train.lr == 0.1, "the old run is there until the new one is whole"
        with pytest.raises(RunError, match="a finished run and an unfinished run; give --resume"):
            fit(0.2)
        with pytest.raises(ConfigError, match=r"train\.lr was 0\.2 when this run began and is 0\.1 now"):
            fit(0.1, resume=True)
        interrupted(0.2, **how)
        assert any("resumed" in note for note in fit(0.2, **how))
        fit(0.1, overwrite=True)
    interrupted(0.2, overwrite=True)
    assert not any("resumed" in note for note in fit(0.3, resume=True, overwrite=True)), "other settings begin anew"


def test_other_rows_in_memory_are_not_taken_for_those_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, other = click_log(300), click_log(300, seed=9)
    flipped = log.with_columns(click=1 - pl.col("click"))

    def fit(rows: pl.DataFrame, out: str) -> cf.Ranker:
        ranker, data = (
            cf.Ranker("fm", train={**TRAIN, "checkpoint_seconds": 0}),
            cf.load(rows, label="click", quiet=True),
        )
        return ranker.fit(data, log, out=tmp_path / out, resume=True, quiet=True)

    with monkeypatch.context() as patch, pytest.raises(DataError, match="are gone"):
        patch.setattr(cf.Ranker, "_measure", _fail)
        fit(log, "unfinished")
    for rows in (other, flipped):
        with pytest.raises(ConfigError, match="begun with other training rows"):
            fit(rows, "unfinished")
    weights = fit(log, "unfinished").predict(other)
    for rows in (other, flipped, log.reverse()):
        with pytest.raises(ConfigError, match="on other rows"):
            fit(rows, "unfinished")
    same = fit(pl.concat([log[:100], log[100:]], rechunk=False), "unfinished")
    np.testing.assert_array_equal(same.predict(other), weights)


def test_nothing_is_chosen_by_test_rows() -> None:
    log = click_log(300)
    data = cf.load(log, label="click", quiet=True)
    ranker = cf.Ranker("fm", train={**TRAIN, "watch_test": True, "monitor": "test log_loss"})
    with pytest.raises(ConfigError, match=r"'test log_loss' would choose by test rows; set it to 'log_loss'"):
        ranker.fit(data, log, test=data, quiet=True)


def test_a_finished_run_is_of_its_validation_rows_too(tmp_path: Path) -> None:
    log, valid = click_log(300), click_log(60, seed=5)

    def fit(rows: pl.DataFrame | None, out: str) -> cf.Ranker:
        data = cf.load(log, label="click", quiet=True)
        ranker = cf.Ranker("fm", train=TRAIN, data={"split": "random"})
        return ranker.fit(data, rows, out=tmp_path / out, resume=True, quiet=True)

    fit(valid, "given")
    assert fit(valid, "given").about["valid_sha256"].keys() == {"rows in memory"}
    for other in (valid.with_columns(click=1 - pl.col("click")), None):
        with pytest.raises(ConfigError, match="a finished run on other"):
            fit(other, "given")
    fit(None, "split")
    assert fit(None, "split").about["valid_rows"] > 0, "rows that were split off are the same again"
    older = Bundle.load(tmp_path / "given")
    del older.about["valid_sha256"]  # versions before did not note them
    older.save(tmp_path / "older")
    fit(valid.reverse(), "older")


# Calibration


def weighted_log(num_rows: int, seed: int) -> pl.DataFrame:
    """Clicks with row weights of 1 to 4 that are larger where there was none."""
    weight = pl.col("click").replace_strict({0: 3.0, 1: 1.0}) + pl.int_range(pl.len()) % 2
    return click_log(num_rows, seed).drop("ts").with_columns(weight=weight)


def test_a_fit_calibrates_on_validation_rows_and_everything_shows_it(tmp_path: Path) -> None:
    train, valid = click_log(1500).drop("ts"), click_log(2000, seed=1).drop("ts")
    rows = click_log(300, seed=5)
    roles = {"label": "click", "user": "user_id", "item": "item_id"}
    plain = cf.Ranker("deepfm", deep=(16,), train=TRAIN, data=roles).fit(train, valid, quiet=True)
    for method in ("platt", "isotonic"):
        ranker = cf.Ranker("deepfm", deep=(16,), train=TRAIN, data=roles, calibration={"method": method})
        ranker.fit(train, valid, quiet=True)
        curve = ranker.bundle.calibration
        assert curve is not None and (curve.method, curve.num_rows) == (method, 2000)
        raw = plain.predict(rows)
        expected = probability(curve(np.log(raw) - np.log1p(-raw)))
        np.testing.assert_allclose(ranker.predict(rows), expected, rtol=1e-5)
        assert np.abs(expected - raw).max() > 0.005
        np.testing.assert_allclose(np.concatenate(list(ranker.score_frames(rows)))[:, -1].astype(float), expected)
        report = ranker.evaluate(valid, intervals=False)
        assert report["auc"] == plain.evaluate(valid, intervals=False)["auc"]
        assert report["calibration"] == pytest.approx(1, abs=1e-3)
        top = ranker.recommend(["u3"], 40, filter_seen=False)
        assert top["item_id"].to_list() == plain.recommend(["u3"], 40, filter_seen=False)["item_id"].to_list()
        assert top["score"][0] == pytest.approx(
            probability(curve(np.log(p := plain.recommend(["u3"], 1, filter_seen=False)["score"][0]) - np.log1p(-p)))[0]
        )
        ranker.save(tmp_path / method)
        np.testing.assert_array_equal(cf.Ranker.load(tmp_path / method).predict(rows), ranker.predict(rows))


def test_a_trained_ranker_is_calibrated_on_fresh_rows_again_and_again(ranker: cf.Ranker) -> None:
    mine = cf.Ranker(ranker.recipe)
    mine._bundle = ranker.bundle
    shifted = click_log(4000, seed=7).with_columns(click=pl.col("click") * (pl.int_range(pl.len()) % 3 == 0))
    rows = click_log(3000, seed=8).with_columns(click=pl.col("click") * (pl.int_range(pl.len()) % 3 == 0))
    assert ranker.evaluate(rows, intervals=False)["calibration"] > 2
    for method in ("platt", "isotonic", "platt"):
        assert mine.calibrate(shifted, method=method) is mine  # type: ignore[arg-type]
        assert mine.evaluate(rows, intervals=False)["calibration"] == pytest.approx(1, abs=0.08)
    once = mine.bundle.calibration
    assert mine.calibrate(shifted).bundle.calibration == once, "fitted to the model's logits, not to calibrated ones"
    assert ranker.bundle.calibration is None


def test_row_weights_count_in_a_calibration() -> None:
    train, valid, fresh = (weighted_log(num_rows, seed) for num_rows, seed in ((1500, 0), (4000, 1), (8000, 2)))
    data = {"label": "click", "weight": "weight"}
    for method in ("platt", "isotonic"):
        ranker = cf.Ranker("fm", train=TRAIN, data=data, calibration={"method": method}).fit(train, valid, quiet=True)
        assert ranker.evaluate(fresh, intervals=False)["calibration"] == pytest.approx(1, abs=0.05)
        rate = np.average(fresh["click"], weights=fresh["weight"])
        assert np.average(ranker.predict(fresh), weights=fresh["weight"]) == pytest.approx(rate, rel=0.05)


def rates_by_page(num_rows: int, seed: int) -> pl.DataFrame:
    """Clicks, one row in six, whose logit depends on the page alone."""
    random = np.random.default_rng(seed)
    page = random.integers(0, 30, num_rows)
    clicks = random.random(num_rows) < probability(-2 + np.sin(page))
    return pl.DataFrame({"click": clicks.astype(np.int64), "page": [f"p{one}" for one in page]})


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_model_on_thinned_negatives_is_right_on_fresh_rows(method: str) -> None:
    train, valid, fresh = (rates_by_page(num_rows, seed) for seed, num_rows in enumerate((30_000, 10_000, 30_000)))
    data = {"label": "click", "negative_rate": 0.1}
    ranker = cf.Ranker("logistic_regression", train={**TRAIN, "lr": 0.1}, data=data, calibration={"method": method})
    ranker.fit(train, valid, quiet=True)
    assert ranker.about["train_rows"] < 10_000
    calibrated = ranker.bundle
    corrected = replace(calibrated, calibration=None)
    ratios = {}
    for name, bundle in {
        "as trained": replace(corrected, recipe=ranker.recipe.with_data(negative_rate=1.0)),
        "corrected": corrected,
        "calibrated": calibrated,
    }.items():
        ranker._bundle = bundle
        ratios[name] = ranker.evaluate(fresh, intervals=False)["calibration"]
    # The noise: sqrt((1 - p) / (n p)) is 1.3 % of the fresh rows and 2.3 % of the validation rows.
    assert ratios["as trained"] > 2.5
    assert ratios["corrected"] == pytest.approx(1, abs=0.08)
    assert ratios["calibrated"] == pytest.approx(1, abs=0.06)
    if isinstance(curve := calibrated.calibration and calibrated.calibration.curve, Platt):
        assert curve.slope == pytest.approx(1, abs=0.1), "nothing but the rate was wrong, and that is corrected before"


def test_what_cannot_be_calibrated_is_refused_before_training(tmp_path: Path) -> None:
    log, pairs = click_log(300).drop("ts"), click_log(300).select("user_id", "item_id").unique()
    platt = {"method": "platt"}
    with pytest.raises(DataError, match="platt is fitted to at least 10 positive and 10 negative rows, and there are"):
        cf.Ranker("fm", data={"label": "click"}, calibration=platt).fit(log, log.head(12), out=tmp_path / "a")
    with pytest.raises(ConfigError, match=r'calibration\.method = "platt" is fitted to validation rows'):
        cf.Ranker("popularity", data={"label": "click", "user": "user_id", "item": "item_id"}, calibration=platt).fit(
            log, out=tmp_path / "a"
        )
    with pytest.raises(ConfigError, match="without, scores only rank"):
        cf.Ranker("gmf", data={"user": "user_id", "item": "item_id"}, calibration=platt).fit(pairs, out=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    ranker = cf.Ranker("gmf", data={"user": "user_id", "item": "item_id"}, train=TRAIN).fit(pairs, pairs, quiet=True)
    with pytest.raises(ConfigError, match="only ranks"):
        ranker.calibrate(log)


def test_too_few_fresh_rows_leave_the_calibration_as_it_was(ranker: cf.Ranker) -> None:
    mine = cf.Ranker(ranker.recipe)
    mine._bundle = ranker.bundle
    before = mine.calibrate(click_log(500, seed=4)).bundle.calibration
    for rows in (click_log(15), click_log(500).with_columns(click=pl.lit(0))):
        with pytest.raises(DataError, match="platt is fitted to at least 10"):
            mine.calibrate(rows)
    with pytest.raises(ConfigError, match="unknown calibration method"):
        mine.calibrate(click_log(500), method="beta")  # type: ignore[arg-type]
    assert mine.bundle.calibration == before


@pytest.mark.parametrize("is_labelled", [True, False])
def test_a_run_whose_weights_exploded_is_not_blamed_on_the_rows(is_labelled: bool) -> None:
    log, roles = click_log(2000).drop("ts"), {"user": "user_id", "item": "item_id"}
    if is_labelled:
        roles |= {"label": "click"}
    else:
        log = log.unique(["user_id", "item_id"], maintain_order=True).drop("click")
    ranker = cf.Ranker("mf", train={"optimizer": "sgd", "lr": 1e30, "epochs": 1, "batch_size": 2000}, data=roles)
    with pytest.raises(RunError, match=r"scores of the validation rows are not finite, .* set a lower train\.lr"):
        ranker.fit(log, quiet=True)


def test_validation_pairs_that_cannot_be_ranked_are_refused() -> None:
    log = click_log(2000).select("user_id", "item_id").unique(maintain_order=True)
    roles = {"user": "user_id", "item": "item_id"}
    with pytest.raises(DataError, match=r"no validation row holds a user and an item that training has"):
        cf.Ranker("mf", train=TRAIN, data={**roles, "split": "user"}).fit(log, quiet=True)
    with pytest.raises(DataError, match=r"training has every pair of the validation rows"):
        cf.Ranker("mf", train={**TRAIN, "monitor_items": "all"}, data=roles).fit(log, log.head(50), quiet=True)


def test_an_update_is_calibrated_again_where_there_are_rows_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    roles, (first, second, third) = {"label": "click"}, (click_log(1500, seed).drop("ts") for seed in range(3))
    ranker = cf.Ranker("fm", train=TRAIN, data=roles, calibration={"method": "platt"}).fit(first, second, quiet=True)
    before = ranker.bundle.calibration
    ranker.update(second)
    assert ranker.bundle.calibration == before
    assert "the calibration stays that of the model before the update" in capsys.readouterr().err
    ranker.update(second, third, quiet=True)
    after = ranker.bundle.calibration
    assert after is not None and before is not None and after.curve != before.curve and after.method == "platt"
    assert ranker.evaluate(third, intervals=False)["calibration"] == pytest.approx(1, abs=1e-3)
    with pytest.raises(DataError, match="platt is fitted to at least 10"):
        ranker.update(second, third.head(12), quiet=True)
    assert ranker.bundle.calibration == after


def test_the_rows_to_validate_on_do_not_depend_on_the_seed_of_training() -> None:
    rows = cf.load(click_log(200).drop("ts"), label="click", quiet=True)
    parts = [
        split_off(cf.Recipe.of({"model": {"name": "fm"}, **some}), rows)[1].head(20)
        for some in ({}, {"train": {"seed": 1}}, {"data": {"split_seed": 1}})
    ]
    assert parts[0].equals(parts[1]) and not parts[0].equals(parts[2])


def test_an_update_records_what_it_was_trained_on_and_nothing_that_was_measured_before_it(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("first.csv", "second.csv", "third/first.csv")]
    files[2].parent.mkdir()
    for seed, path in enumerate(files):
        click_log(300, seed).drop("ts").write_csv(path)
    test = cf.load(click_log(300, 9).drop("ts"), label="click", quiet=True)
    ranker = cf.Ranker("fm", train=TRAIN, data={"label": "click"}).fit(files[0], test=test, quiet=True)
    assert "test" in ranker.about
    first = ranker.about["data_sha256"]["first.csv"]
    for path in files[1:]:
        ranker.update(path, quiet=True)
    assert "test" not in ranker.about
    assert list(ranker.about["data_sha256"]) == ["first.csv", "second.csv", "first.csv (update 2)"]
    assert first == ranker.about["data_sha256"]["first.csv"]
    sums = {sha256_of(path) for path in files}
    assert len(sums) == 3 and set(ranker.about["data_sha256"].values()) == sums
    ranker.update(files[1], quiet=True)
    assert len(ranker.about["data_sha256"]) == 3


def test_prepared_rows_bring_their_words_and_their_other_parts(tmp_path: Path) -> None:
    recipe = cf.Recipe.of({"model": {"name": "fm"}, "data": ROLES, "encoder": {"min_count": 2}})
    parts = cf.load(click_log(1000), quiet=True, **ROLES).split("random", sizes=(0.6, 0.2, 0.2))
    write_prepared(recipe, *parts, folder=tmp_path, split="random")
    rows = Prepared.open(tmp_path)
    ranker = cf.Ranker("deepfm", embedding_dim=8, deep=(16,), train=TRAIN).fit(rows, quiet=True)
    assert (ranker.recipe.encoder.min_count, ranker.recipe.data.user) == (2, "user_id")
    assert (ranker.recipe.name, ranker.recipe.train.epochs) == ("deepfm", 4)
    assert ranker.about["test"]["n"] == 200
    raw = ranker.evaluate(parts[2], intervals=False, quiet=True)
    assert raw == ranker.evaluate(rows.test, intervals=False, quiet=True) == ranker.about["test"]
    with pytest.raises(ConfigError, match=r"encoder\.min_count was 2"):
        cf.Ranker("fm", encoder={"min_count": 3}).fit(rows, quiet=True)
    with pytest.raises(ConfigError, match="bring their own rows"):
        cf.Ranker("fm").fit(rows, click_log(9), quiet=True)


def test_rows_that_another_encoder_encoded_are_refused(ranker: cf.Ranker, tmp_path: Path) -> None:
    recipe = cf.Recipe.of({"model": {"name": "fm"}, "data": ROLES})
    parts = cf.load(click_log(500), quiet=True, **ROLES).split(sizes=(0.5, 0.5))
    stored = write_prepared(recipe, *parts, None, folder=tmp_path, split="time").train
    with pytest.raises(ConfigError, match="encoded by another encoder"):
        ranker.evaluate(stored, quiet=True)
