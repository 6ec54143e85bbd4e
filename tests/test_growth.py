"""Tables grow with the ids: known scores stay, new ids get rows, optimisers go on, evicted ids become unseen."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import crossfield as cf
from crossfield.batch import Batch
from crossfield.data.dataset import load
from crossfield.data.encode import Encoder, EncoderConfig
from crossfield.data.vocabulary import Growth, Vocabulary
from crossfield.errors import ConfigError, CorruptError, DataError, RunError
from crossfield.growth import grown_model
from crossfield.train import Trainer

TRAIN = {"epochs": 3, "batch_size": 64, "lr": 0.02, "precision": "fp32", "compile": "off"}
OPTIONS = {"label": "click", "user": "user", "item": "film", "separators": {"tags": "|"}}


def log(num_rows: int, *, films: range, seed: int = 0) -> pl.DataFrame:
    """Clicks that follow the film; a tag per film and one that nobody else has."""
    random = np.random.default_rng(seed)
    users, ids = random.integers(0, 30, num_rows), random.choice(np.arange(films.start, films.stop), num_rows)
    return pl.DataFrame(
        {
            "user": [f"u{one}" for one in users],
            "film": [f"f{one}" for one in ids],
            "tags": [f"t{one % 3}|only{one}" for one in ids],
            "year": 1950.0 + ids,
            "click": (ids % 2 == 0).astype(int) ^ (random.random(num_rows) < 0.1),
        }
    )


OLD, NEW = log(600, films=range(12)), log(400, films=range(6, 18), seed=1)


def trained(model: str = "deepfm", encoder: dict[str, Any] | None = None, **settings: Any) -> cf.Ranker:
    ranker = cf.Ranker(model, train=TRAIN, encoder=encoder or {}, data=OPTIONS, **settings)
    return ranker.fit(OLD, OLD.head(100), quiet=True)


def vocabulary(**counts: int) -> Vocabulary:
    return Vocabulary.of(frame(**counts), min_count=1, max_size=None)


def frame(**counts: int) -> pl.DataFrame:
    return pl.DataFrame({"value": list(counts), "count": list(counts.values())}, schema_overrides={"count": pl.Int64})


def grow(before: Vocabulary, update: int = 1, **settings: Any) -> tuple[Vocabulary, Growth]:
    counts = settings.pop("counts")
    options = {"min_count": 1, "budget": None, "evict": "last_use", **settings}
    return before.grown(frame(**counts), update=update, **options)


def test_new_tokens_follow_the_old_ones_by_falling_count() -> None:
    grown, growth = grow(vocabulary(a=3, b=2), counts={"z": 1, "b": 4, "y": 1, "x": 5})
    assert grown.tokens.to_list() == ["a", "b", "x", "y", "z"] and grown.counts.to_list() == [3, 6, 5, 1, 1]
    assert grown.uses.to_list() == [0, 1, 1, 1, 1]
    assert growth.rows.tolist() == [0, 1, 2, 3, -1, -1, -1]
    assert (growth.new, growth.admitted, growth.evicted) == (3, 3, 0)
    assert growth.renamed.tolist() == [0, 1, 2, 3]


def test_rare_new_tokens_are_not_admitted() -> None:
    grown, growth = grow(vocabulary(a=3), counts={"x": 5, "y": 4}, min_count=5)
    assert grown.tokens.to_list() == ["a", "x"] and (growth.new, growth.admitted) == (2, 1)


def test_over_budget_the_tokens_used_longest_ago_leave_or_the_rarest() -> None:
    first, _ = grow(vocabulary(a=9, b=8, c=1), counts={"c": 1})  # c was used in update 1
    grown, growth = grow(first, update=2, counts={"x": 2, "a": 1}, budget=3)
    assert grown.tokens.to_list() == ["a", "c", "x"]  # b was used longest ago
    assert growth.rows.tolist() == [0, 1, 2, 4, -1] and growth.evicted == 1
    assert growth.renamed.tolist() == [0, 1, 2, 1, 3]  # b is unseen now
    rarest, _ = grow(first, update=2, counts={"x": 3, "a": 1}, budget=3, evict="count")
    assert rarest.tokens.to_list() == ["a", "b", "x"]  # c has two rows


def test_hashed_ids_only_count_on() -> None:
    before = Vocabulary.hashed(pl.DataFrame({"value": [2, 3], "count": [4, 5]}), 2)
    grown, growth = before.grown(
        pl.DataFrame({"value": [0, 3], "count": [1, 7]}), min_count=1, budget=1, update=1, evict="count"
    )
    assert grown.counts.to_list() == [4, 12] and growth.rows.tolist() == [0, 1, 2, 3]


def test_a_grown_encoder_keeps_numbers_and_goes_through_a_file(tmp_path: Path) -> None:
    encoder = Encoder.fit(load(OLD, **OPTIONS), EncoderConfig())
    grown, growths = encoder.grown(load(NEW, **OPTIONS), update=1)
    assert grown.fitted.scales == encoder.fitted.scales
    assert growths["film"].admitted == 6 and growths["tags"].admitted == 6 and growths["user"].new == 0
    old, new = (one.encode(OLD, labelled=True) for one in (encoder, grown))
    assert np.array_equal(old.categorical, new.categorical) and np.array_equal(old.dense, new.dense)
    grown.save(tmp_path)
    again = Encoder.load(tmp_path)
    assert again.fingerprint == grown.fingerprint
    assert again.fitted.vocabularies["film"].uses.to_list() == grown.fitted.vocabularies["film"].uses.to_list()


@pytest.mark.parametrize("name", ["deepfm", "wide_deep", "dcn_v2", "dlrm", "xdeepfm", "finalmlp", "dhen", "eulernet"])
def test_no_score_changes_before_training_goes_on(name: str) -> None:
    ranker = trained(name)
    encoder, growths = ranker.bundle.encoder.grown(load(NEW, **OPTIONS), update=1)
    model = grown_model(ranker.bundle.model, encoder.model_schema, growths).eval()
    for rows in (OLD, NEW):  # ids that were unseen score as the unseen one
        with torch.no_grad():
            before = ranker.bundle.model(
                ranker.bundle.encoder.encode(rows, labelled=False).batch(ranker.bundle.encoder.model_schema)
            )
            after = model(encoder.encode(rows, labelled=False).batch(encoder.model_schema))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


def test_an_update_learns_the_new_films_and_says_what_it_did(tmp_path: Path) -> None:
    ranker, fresh = trained(), log(300, films=range(12, 18), seed=2)
    before = ranker.evaluate(fresh, quiet=True)["auc"]
    ranker.update(NEW, epochs=5, quiet=True)
    assert ranker.evaluate(fresh, quiet=True)["auc"] > max(before + 0.2, 0.8)
    update = ranker.about["update"]
    assert update["rows"] == 400 and update["fields"]["film"] == {"new": 6, "admitted": 6, "evicted": 0, "rows": 20}
    assert ranker.about["updates"] == 1
    ranker.update(fresh, out=tmp_path / "second", quiet=True)
    again = cf.Ranker.load(tmp_path / "second")
    assert again.about["updates"] == 2 and np.array_equal(again.predict(NEW), ranker.predict(NEW))


@pytest.mark.parametrize("optimizer", ["lazy_adam", "rowwise_adagrad", "adam", "adagrad"])
def test_optimisers_go_on_where_they_ended(optimizer: str, tmp_path: Path) -> None:
    kept = cf.Ranker("deepfm", train={**TRAIN, "optimizer": optimizer}, data=OPTIONS)
    kept.fit(OLD, OLD.head(100), out=tmp_path / "run", quiet=True)
    assert kept.bundle.training is None  # it lies in the folder
    in_memory = cf.Ranker("deepfm", train={**TRAIN, "optimizer": optimizer}, data=OPTIONS)
    in_memory.fit(OLD, OLD.head(100), quiet=True)
    without = cf.Ranker("deepfm", train={**TRAIN, "optimizer": optimizer, "keep_state": False}, data=OPTIONS)
    without.fit(OLD, OLD.head(100), quiet=True)
    scores = [one.update(NEW, quiet=True).predict(NEW) for one in (kept, cf.Ranker.load(tmp_path / "run"), in_memory)]
    assert np.array_equal(scores[0], scores[1]) and np.array_equal(scores[0], scores[2])
    assert not np.array_equal(scores[0], without.update(NEW, quiet=True).predict(NEW))


def test_an_update_that_is_interrupted_leaves_what_the_next_one_begins_from(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trained().update(NEW, quiet=True).predict(NEW)
    ranker, step = trained(), Trainer._train

    def interrupted(trainer: Trainer, batch: Batch) -> None:
        step(trainer, batch)
        if trainer._at.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_train", interrupted)
        ranker.update(NEW, quiet=True)
    np.testing.assert_array_equal(ranker.update(NEW, quiet=True).predict(NEW), expected)


def test_evicted_ids_score_as_unseen_ones_and_their_rows_are_free() -> None:
    ranker = trained(encoder={"max_size": 13})
    ranker.update(log(200, films=range(20, 26), seed=3), quiet=True)
    film = ranker.about["update"]["fields"]["film"]
    assert film["new"] == 6 and film["evicted"] == 5 and film["rows"] == 15
    gone = [one for one in (f"f{i}" for i in range(12)) if ranker.bundle.encoder.id_of("film", [one])[0] == 1]
    assert len(gone) == 5
    rows = OLD.head(1).with_columns(film=pl.lit(gone[0]))
    assert ranker.predict(rows) == ranker.predict(rows.with_columns(film=pl.lit("never")))


def test_what_users_met_before_stays_met() -> None:
    ranker = cf.Ranker("mf", train=TRAIN, data={"user": "user", "item": "film", "split": "random"})
    pairs = [one.filter(pl.col("click") == 1).select("user", "film").unique(maintain_order=True) for one in (OLD, NEW)]
    ranker.fit(pairs[0], pairs[0].head(5), quiet=True)
    ranker.update(pairs[1], quiet=True)
    entities, encoder = ranker.bundle.entities, ranker.bundle.encoder
    assert entities is not None
    for user in ("u0", "u7"):
        met = pl.concat(pairs).filter(pl.col("user") == user)["film"].unique().to_list()
        seen = encoder.decode("film", entities.seen(int(encoder.id_of("user", [user])[0])))
        assert sorted(str(one) for one in seen) == sorted(met)
        recommended = ranker.recommend([user], k=18)["film"].to_list()
        assert not set(recommended) & set(met) and len(recommended) == 18 - len(met)
    assert entities.popularity.sum() == len(pl.concat(pairs))


def test_new_rows_are_taken_as_the_model_means_them_whatever_they_look_like(tmp_path: Path) -> None:
    NEW.with_columns(year=pl.lit(1990.0), tags=pl.lit("t1")).write_csv(tmp_path / "new.csv")
    columns = {name: OPTIONS[name] for name in ("label", "user", "item")}
    loaded = cf.load(tmp_path / "new.csv", quiet=True, **columns)
    assert {"year", "tags"} <= loaded.schema.ignored.keys()
    rows = tmp_path / "new.csv"
    expected = trained().update(rows, quiet=True).predict(NEW)
    np.testing.assert_array_equal(trained().update(loaded, quiet=True).predict(NEW), expected)


def test_what_cannot_be_updated_says_so(tmp_path: Path) -> None:
    popularity = cf.Ranker("popularity", data=OPTIONS).fit(OLD, quiet=True)
    with pytest.raises(ConfigError, match="fit it again on old and new rows"):
        popularity.update(NEW, quiet=True)
    ranker = trained()
    with pytest.raises(DataError, match="no rows"):
        ranker.update(NEW.head(0), quiet=True)
    ranker.save(tmp_path / "run")
    with pytest.raises(RunError, match="another folder for the updated one"):
        ranker.update(NEW, out=tmp_path / "run", quiet=True)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot make the folder"):
        ranker.update(NEW, out=tmp_path / "file" / "run", quiet=True)
    assert "updates" not in ranker.about, "said before anything was trained"
    state = tmp_path / "run" / "training" / "tensors.safetensors"
    content = bytearray(state.read_bytes())
    content[-3] ^= 4
    state.write_bytes(content)
    loaded = cf.Ranker.load(tmp_path / "run")  # a prediction does not need it
    with pytest.raises(CorruptError, match=r"tensors\.safetensors"):
        loaded.update(NEW, quiet=True)


def test_through_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from crossfield.cli import app

    trained().save(tmp_path / "run")
    NEW.write_parquet(tmp_path / "new.parquet")
    command = ["update", str(tmp_path / "run"), str(tmp_path / "new.parquet"), "--out", str(tmp_path / "next"), "-q"]
    with pytest.raises(SystemExit):
        app(command)
    said = capsys.readouterr().out
    assert "film   6    6         0        20" in said and "400 new rows, 1 epochs" in said
    assert cf.Ranker.load(tmp_path / "next").about["updates"] == 1
