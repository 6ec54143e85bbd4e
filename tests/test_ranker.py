import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import crossfield as cf
from crossfield.data.public import RankingTest
from crossfield.errors import ConfigError, DataError, RunError, SchemaError

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


def test_evaluate_beats_chance_and_slices_add_up(ranker: cf.Ranker) -> None:
    report = ranker.evaluate(click_log(2000, seed=9))
    assert report["auc"] > 0.85
    assert report["ne"] < 0.8
    low, high = report["intervals"]["auc"]
    assert low < report["auc"] < high
    users = [one["n"] for name, one in report["slices"].items() if name.startswith("user:")]
    assert sum(users) == report["n"] == 2000
    json.dumps(report, allow_nan=False)


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


def test_mistakes_before_training() -> None:
    with pytest.raises(RunError, match="not trained yet"):
        cf.Ranker("fm").predict(click_log(3))
    with pytest.raises(SchemaError, match="no label"):
        cf.Ranker("fm").fit(click_log(30), quiet=True)
    with pytest.raises(ConfigError, match=r"unknown key 'model\.embeding_dim'; did you mean 'embedding_dim'"):
        cf.Ranker("fm", embeding_dim=3)
    with pytest.raises(SchemaError, match="user"):
        cf.Ranker("mf", train=TRAIN, data={"label": "click"}).fit(click_log(300), quiet=True)


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


def test_what_a_failed_fit_can_be_resumed_from_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, kept = click_log(300), tmp_path / "run" / "work"
    ranker = cf.Ranker("fm", data={"label": "click"}, train={**TRAIN, "checkpoint_seconds": 0})
    data = cf.load(log, label="click", quiet=True)
    bad = cf.load(log.with_columns(click=pl.lit(7)), label="click", quiet=True)
    with pytest.raises(DataError, match="label 'click' is 7"):
        ranker.fit(data, data, test=bad, out=tmp_path / "run", quiet=True)
    assert list((kept / "checkpoints").glob("checkpoint-*"))
    with pytest.raises(DataError, match="label 'click' is 7"):
        ranker.fit(data, data, test=bad, out=tmp_path / "run", quiet=True, resume=True)
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
