import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crossfield import tour, trials
from crossfield.data.dataset import Dataset, load
from crossfield.data.public.record import PublicData
from crossfield.errors import ConfigError, DataError, SchemaError
from crossfield.landmarks import LADDER, LANDMARKS, LATER
from crossfield.tour import TourResult, format_leaderboard, run_tour


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cinema of 4,000 rows, seen twice."""
    for name, value in {"NUM_TRAIN": 2_000, "NUM_VALID": 500, "NUM_TEST": 1_500}.items():
        monkeypatch.setattr(tour, name, value)
    monkeypatch.setattr(trials, "SEEN_ROWS", 4_000)


def own_rows(num_rows: int = 1_200) -> Dataset:
    rng = np.random.default_rng(0)
    colour, shape = rng.choice(["red", "blue"], num_rows), rng.choice(["round", "square"], num_rows)
    size = rng.normal(size=num_rows).round(3)
    chance = 0.2 + 0.6 * ((colour == "red") == (shape == "round"))
    bought = (rng.random(num_rows) < chance).astype(int)
    return load(pl.DataFrame({"colour": colour, "shape": shape, "size": size, "bought": bought}), label="bought")


def run_of(result: TourResult, name: str) -> list[float]:
    entries = [entry for board in result.findings.all_boards for entry in board.entries if entry.name == name]
    return [run.auc for run in entries[0].runs]


@pytest.mark.usefixtures("tiny")
def test_the_tour_trains_every_landmark_and_writes_its_page(tmp_path: Path) -> None:
    said: list[str] = []
    result = run_tour(seeds=2, out=tmp_path / "report.html", on_progress=said.append)
    found = result.findings
    assert {entry.name for entry in found.entries} == {one.name for one in LANDMARKS}
    assert found.ladder is not None and len(found.ladder.entries) == len(LADDER) + 2
    assert all(len(entry.runs) == 2 and len(entry.slopes) == 3 for entry in found.entries)
    assert {len(entry.curve) for entry in found.entries} <= {0, 2}
    assert len(said) == 2 * (len(LANDMARKS) + len(LADDER))
    assert said[0].startswith(f"  1 of {len(said)}  popularity, seed 0: AUC 0.")
    assert "order 2" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not result.skipped
    _check_text_and_json(result)


@pytest.mark.usefixtures("tiny")
def test_the_whole_catalogue_is_shown_when_asked_for(tmp_path: Path) -> None:
    result = run_tour(seeds=1, everything=True, out=tmp_path / "report.html")
    assert {entry.name for entry in result.findings.entries} == {one.name for one in (*LANDMARKS, *LATER)}
    assert not result.skipped


@pytest.mark.usefixtures("tiny")
def test_a_model_after_the_landmarks_can_be_named(tmp_path: Path) -> None:
    result = run_tour(models=["gdcn"], seeds=1, out=tmp_path / "report.html")
    assert [entry.name for entry in result.findings.entries] == ["gdcn"]


def _check_text_and_json(result: TourResult) -> None:
    text = format_leaderboard(result)
    for name in ("fm", "dlrm", "logistic_regression + 6 crosses", "b1 / b2 / b3", str(result.page_path)):
        assert name in text
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert values["boards"][0]["title"] == "Models without an MLP"
    assert 0.6 < values["limits"]["orders"][0] < values["limits"]["orders"][1] < values["limits"]["orders"][2] < 0.86


@pytest.mark.usefixtures("tiny")
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(tmp_path: Path) -> None:
    first, second = (run_tour(models=["dnn"], seeds=2, out=tmp_path / "report.html") for _ in range(2))
    assert run_of(first, "dnn") == run_of(second, "dnn")
    assert len(set(run_of(first, "dnn"))) == 2


@pytest.mark.usefixtures("tiny")
def test_models_without_an_mlp_are_blind_to_the_order_above_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tour, "NUM_TRAIN", 20_000)
    monkeypatch.setattr(trials, "SEEN_ROWS", 100_000)
    found = run_tour(models=["logistic_regression", "fm"], seeds=1, out=tmp_path / "r.html").findings
    entries = {entry.name: entry for board in found.all_boards for entry in board.entries}
    assert max(map(abs, entries["logistic_regression"].slopes[1:])) < 0.05
    assert abs(entries["fm"].slopes[2]) < 0.05
    assert entries["logistic_regression"].slopes[0] > 0.3
    assert entries["fm"].slopes[1] > 0.1


def test_own_data_have_no_limits_and_models_without_their_columns_are_skipped(tmp_path: Path) -> None:
    result = run_tour(own_rows(), models=["fm", "mf", "dnn"], seeds=2, out=tmp_path / "own.html")
    assert [entry.name for entry in result.findings.entries] == ["dnn", "fm"]
    assert result.findings.limits is None and result.findings.ladder is None
    assert len(result.skipped) == 1 and "mf is left out: " in result.skipped[0] and "user" in result.skipped[0]
    text = format_leaderboard(result)
    assert "b1" not in text and result.skipped[0] in text
    assert min(run_of(result, "fm")) > 0.7


def test_quick_takes_a_tenth_of_the_training_rows(tmp_path: Path) -> None:
    result = run_tour(own_rows(), models=["logistic_regression"], seeds=1, out=tmp_path / "own.html", quick=True)
    assert "96 training, 120 validation and 120 test rows" in result.findings.method[0]


def test_official_parts_are_kept(tmp_path: Path) -> None:
    train, test = own_rows().split("random", sizes=(0.75, 0.25))
    for data, rows in [
        (PublicData(train, test=test), "810 training, 90 validation and 300 test"),
        (PublicData(train, test, test), "900 training, 300 validation and 300 test"),
        (PublicData(train, notes=("Rows were rebuilt.",)), "720 training, 90 validation and 90 test"),
    ]:
        result = run_tour(data, models=["logistic_regression"], seeds=1, out=tmp_path / "own.html")
        assert f"{rows} rows" in result.findings.method[0]
        assert all(note in result.findings.method for note in data.notes)


def test_interval_and_bins_are_weighted_as_the_auc_is(tmp_path: Path) -> None:
    weights = np.random.default_rng(9).choice([0.05, 20.0], 4_000)
    rows = own_rows(4_000).frame.collect().with_columns(weight=pl.Series(weights))
    weighted = load(rows, label="bought", weight="weight")
    result, plain = (
        run_tour(data, models=["logistic_regression"], seeds=1, out=tmp_path / "own.html")
        for data in (weighted, own_rows(4_000))
    )
    (entry,), (other,) = result.findings.entries, plain.findings.entries
    test = weighted.split()[2].frame.collect()
    rate = np.average(test["bought"].to_numpy(), weights=test["weight"].to_numpy())
    assert np.mean(entry.reliability.observed) == pytest.approx(rate, abs=0.01)
    width, plain_width = (high - low for low, high in (entry.interval(), other.interval()))
    assert width > 1.2 * plain_width  # half of the rows weigh next to nothing


@pytest.mark.parametrize(("part", "start"), [("training", 0), ("validation", 960), ("test", 1080)])
def test_a_part_of_one_class_is_refused_before_anything_is_trained(tmp_path: Path, part: str, start: int) -> None:
    number, stop = pl.int_range(pl.len()), {0: 960, 960: 1080, 1080: 1200}[start]
    rows = own_rows().frame.with_columns(
        pl.when(number.is_between(start, stop - 1)).then(0).otherwise("bought").alias("bought"), ts=number * 60
    )
    data = load(rows.collect(), label="bought", time="ts")
    said: list[str] = []
    with pytest.raises(DataError, match=rf"every label is 0 in the {stop - start} {part} rows"):
        run_tour(data, models=["logistic_regression"], seeds=1, out=tmp_path / "own.html", on_progress=said.append)
    assert not said and not (tmp_path / "own.html").exists()


@pytest.mark.usefixtures("tiny")
def test_a_model_nobody_knows_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model 'depfm'; did you mean 'deepfm'\?"):
        run_tour(models=["depfm"], out=tmp_path / "r.html")


def test_a_folder_is_refused_as_the_page_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a folder; .*report\.html"):
        run_tour(out=tmp_path)


def test_rows_without_a_label_or_without_columns_for_any_model_are_refused(tmp_path: Path) -> None:
    unlabelled = load(
        pl.DataFrame({"colour": ["red", "blue"] * 50, "shape": ["round", "square", "round", "flat"] * 25})
    )
    with pytest.raises(SchemaError, match="label"):
        run_tour(unlabelled, out=tmp_path / "r.html")
    with pytest.raises(SchemaError, match="no model of the tour fits"):
        run_tour(own_rows(), models=["mf", "gmf"], out=tmp_path / "r.html")
