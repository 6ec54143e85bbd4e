import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from crossfield.data.dataset import Dataset, load
from crossfield.data.options import DataConfig
from crossfield.data.source import Layout
from crossfield.errors import CorruptError, DataError, SchemaError
from crossfield.schema import Kind, Label

CSV = "user,age,genres,click\n" + "".join(
    f"u{i % 3},{20 + i % 5},{('Action|Comedy', 'Comedy', 'Action')[i % 3]},{i % 2}\n" for i in range(60)
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "clicks.csv"
    file.write_text(CSV)
    return file


@pytest.fixture
def data(path: Path) -> Dataset:
    return load(path, label="click", user="user", kinds={"age": "dense"}, crosses=[("user", "genres")])


def test_load_gives_rows_and_meaning(data: Dataset, path: Path) -> None:
    assert (data.name, data.files, data.num_rows) == ("clicks.csv", (path,), 60)
    assert data.head(2).rows() == [("u0", 20, "Action|Comedy", 0), ("u1", 21, "Comedy", 1)]
    assert data.schema.columns == ("user", "age", "genres")
    assert data.schema.label == Label("click")


def test_description_is_a_plain_table(data: Dataset) -> None:
    assert data.describe() == "\n".join(
        [
            "clicks.csv",
            "",
            "column         kind         why",
            "-------------  -----------  ---------------------------",
            "user           categorical  given: the user",
            "age            dense        given",
            "genres         multi        split at '|' in 33% of rows",
            "user x genres  cross        given",
            "",
            "role   column",
            "-----  ------",
            "label  click",
            "user   user",
        ]
    )
    described = load(CSV_ROWS, ignore=("b",), label="a>=2").describe()
    assert "label  a>=2" in described
    assert described.endswith("left out  why\n--------  -----\nb         given")


CSV_ROWS = [{"a": 1, "b": "x", "c": "y"}, {"a": 2, "b": "x", "c": "z"}]


def test_a_schema_saves_the_guessing(data: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(data.schema.to_json()))
    tomorrow = [{"user": "u9", "age": 30, "genres": "Drama"}]
    for schema in (data.schema, file):
        found = load(tomorrow, schema=schema)
        assert found.schema == data.schema
    changed = load(data.frame, schema=data.schema, label="age>=22")
    assert changed.schema.label == Label("age", ">=", 22)
    assert "age" not in changed.schema.columns
    with pytest.raises(CorruptError, match="missing"):
        load(tomorrow, schema=tmp_path / "none.json")


def test_a_schema_file_may_be_edited_and_an_error_in_it_names_the_file(data: Dataset, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(data.schema.to_json()).replace('"dense"', '"categorical"'))
    assert load(data.frame, schema=file).schema["age"].kind is Kind.CATEGORICAL
    file.write_text(json.dumps(data.schema.to_json()).replace('"dense"', '"numeric"'))
    with pytest.raises(SchemaError, match=rf"^{file}: column 'age' cannot be of kind 'numeric'; known: dense, "):
        load(data.frame, schema=file)


def test_rows_to_predict_may_lack_the_label_of_a_headerless_file(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("1\t5\tx\n0\t7\ty\n")
    (tmp_path / "new.tsv").write_text("6\tx\n")
    layout = Layout(columns=("click", "age", "city"), header=False)
    train = load(tmp_path / "train.tsv", label="click", layout=layout)
    new = load(tmp_path / "new.tsv", schema=train.schema, layout=layout)
    assert new.require(labelled=False).head().to_dicts() == [{"age": 6, "city": "x"}]


def test_a_single_row_of_text_under_a_known_header_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("city,name\nparis,bob\n")
    schema = load([{"name": "a", "city": "b"}, {"name": "c", "city": "d"}]).schema
    assert load(tmp_path / "new.csv", schema=schema).num_rows == 1


def test_ids_of_a_run_stay_as_they_are_spelled_whatever_else_a_file_holds(tmp_path: Path) -> None:
    whole = pl.DataFrame(
        {"version": ["1.0", "2.1", "2.10", "3.0.1"], "tags": ["1", "2|1", "2.0", "1.0"], "n": [".5"] * 4}
    )
    whole.write_csv(tmp_path / "whole.csv")
    whole.filter(pl.col("tags") != "2|1").head(2).write_csv(tmp_path / "part.csv")
    kinds = {"version": "categorical", "n": "dense"}
    train = load(tmp_path / "whole.csv", kinds=kinds, separators={"tags": "|"})
    part = load(tmp_path / "part.csv", schema=train.schema).require(labelled=False)
    assert part.head().to_dicts() == [
        {"version": "1.0", "tags": "1", "n": 0.5},
        {"version": "2.10", "tags": "2.0", "n": 0.5},
    ]
    assert (train.spelled, sorted(part.spelled)) == (("tags",), ["tags", "version"])
    # A file that other rows have no part in is read as it was when training began.
    whole.head(3).write_csv(tmp_path / "part.csv")
    assert load(tmp_path / "part.csv", kinds=kinds).frame.collect_schema()["version"] == pl.Float64


def test_libsvm_rows_to_predict_have_the_columns_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "train.libsvm").write_text("1 0:0.5 7:2\n0 3:1\n0 0:3\n")
    (tmp_path / "later.libsvm").write_text("0 3:4\n")
    train = load(tmp_path / "train.libsvm", label="label", time="x_7", kinds={"x_0": "dense", "x_3": "dense"})
    later = load(tmp_path / "later.libsvm", schema=train.schema).require(labelled=True)
    assert later.head().to_dicts() == [{"label": 0, "x_0": 0.0, "x_3": 4.0, "x_7": 0.0}]


def test_a_label_is_told_by_the_text_it_was_named_by(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x,grade\n1,2.10\n2,x\n")
    (tmp_path / "later.csv").write_text("x,grade\n1,2.10\n2,2.1\n")
    train = load(tmp_path / "train.csv", label="grade", positive="2.10")
    assert load(tmp_path / "later.csv", schema=train.schema).frame.collect_schema()["grade"] == pl.String


@pytest.mark.parametrize("value", [3, 3.0, "3", "3|4"])
def test_several_values_may_be_a_single_number(value: object) -> None:
    schema = load([{"tags": "3|4"}, {"tags": "5"}], separators={"tags": "|"}).schema
    assert load({"tags": value}, schema=schema).require(labelled=False).num_rows == 1


def test_require_finds_what_is_there(data: Dataset) -> None:
    assert data.require(labelled=True).frame.collect().equals(data.frame.collect())
    assert load({"user": None, "age": None, "genres": None}, schema=data.schema).require(labelled=False).num_rows == 1
    lists = load({"user": "u1", "age": True, "genres": ["Drama"]}, schema=data.schema)
    assert lists.require(labelled=False).schema == data.schema


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"user": "u1", "ages": 3, "genres": "Drama"}, "rows has no column 'age', which .* did you mean 'ages'"),
        ({"user": "u1", "age": [3], "genres": "Drama"}, "column 'age' is dense in the schema and holds List"),
        ({"user": ["u1"], "age": 3, "genres": "Drama"}, "column 'user' is categorical in the schema and holds List"),
        ({"user": "u1", "age": 3, "genres": True}, "column 'genres' is multi in the schema and holds Boolean"),
    ],
)
def test_require_names_the_column_that_does_not_fit(data: Dataset, row: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        load(row, schema=data.schema).require(labelled=False)


@pytest.mark.parametrize("values", [[timedelta(1)], [b"x"], [{"a": 1}]])
def test_require_refuses_what_no_encoder_takes_for_an_id(values: list[object]) -> None:
    rows = load(pl.DataFrame({"id": values}), kinds={"id": "categorical"})
    with pytest.raises(SchemaError, match=r"column 'id' is categorical .* write it as values of that kind"):
        rows.require(labelled=False)


def test_the_label_is_only_required_where_it_is_used(data: Dataset) -> None:
    unlabelled = load({"user": "u1", "age": 3, "genres": "Drama"}, schema=data.schema)
    unlabelled.require(labelled=False)
    with pytest.raises(SchemaError, match="rows has no column 'click'"):
        unlabelled.require(labelled=True)
    with pytest.raises(SchemaError, match="rows has no label; name it"):
        load(CSV_ROWS).require(labelled=True)


def test_text_in_a_dense_column_is_named_with_its_row(tmp_path: Path, data: Dataset) -> None:
    file = tmp_path / "new.csv"
    file.write_text("user,age,genres\n" + "u1,30,Drama\n" * 50_000 + "u1,thirty,Drama\n")
    with pytest.raises(DataError, match="column 'age' is dense and holds 'thirty' in row 50000"):
        load(file, schema=data.schema).require(labelled=False)


def test_numbers_as_text_become_numbers(data: Dataset) -> None:
    rows = [{"user": "u1", "age": text, "genres": "Drama"} for text in ("30", " 31.5", "", None, "nan")]
    ready = load(rows, schema=data.schema).require(labelled=False).frame.collect()["age"]
    assert ready.dtype == pl.Float64
    assert ready.fill_nan(-1).to_list() == [30.0, 31.5, None, None, -1.0]


def test_splitting_keeps_the_meaning(data: Dataset) -> None:
    train, valid, test = data.split(sizes=(0.5, 0.25, 0.25), seed=3)
    assert [part.name for part in (train, valid, test)] == [f"clicks.csv ({p})" for p in ("train", "valid", "test")]
    assert [part.num_rows for part in (train, valid, test)] == [30, 15, 15]
    assert train.schema is data.schema
    assert train.files == data.files
    assert data.split(sizes=(0.5, 0.5))[1].name == "clicks.csv (test)"


def test_missing_label_column_names_what_there_is(path: Path) -> None:
    with pytest.raises(SchemaError, match="no column 'clicks'; did you mean 'click'"):
        load(path, label="clicks")


def test_roles_come_from_the_frame_under_a_schema(data: Dataset) -> None:
    rows = [{"user": "u1", "age": 30, "genres": "Drama", "when": 5}]
    timed = load(rows, schema=data.schema, time="when")
    assert timed.schema.time == "when"
    assert timed.schema["user"].kind is Kind.CATEGORICAL
    with pytest.raises(SchemaError, match="no column 'whem'"):
        load(rows, schema=data.schema, time="whem")


def test_a_column_of_another_type_may_hold_nothing() -> None:
    schema = load([{"age": 3, "genres": ["Drama"]}, {"age": 4, "genres": []}]).schema
    gaps = pl.DataFrame({"age": [3], "genres": [float("nan")]})
    assert load(gaps, schema=schema).require(labelled=False).head()["genres"].to_list() == [None]
    mixed = pl.concat([gaps, gaps.with_columns(genres=pl.lit(7.0))])
    with pytest.raises(SchemaError, match="column 'genres' is multi in the schema and holds Float64"):
        load(mixed, schema=schema).require(labelled=False)


def test_a_dense_column_takes_booleans_of_any_spelling() -> None:
    train = load([{"flag": True, "y": 1}, {"flag": False, "y": 0}], label="y", kinds={"flag": "dense"})
    rows = load([{"flag": "True"}, {"flag": "FALSE"}, {"flag": "0.5"}], schema=train.schema)
    assert rows.require(labelled=False).head()["flag"].to_list() == [1, 0, 0.5]


def test_a_schema_is_changed_by_what_is_said_beside_it(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    guessed = load(path, kinds={"genres": "categorical"}).schema
    file.write_text(json.dumps(guessed.to_json()))
    changed = load(path, schema=file, label="click", user="user", kinds={"genres": "multi"}, ignore=("age",)).schema
    assert (changed.label, changed.user, changed["genres"].separator) == (Label("click"), "user", "|")
    assert changed.columns == ("user", "genres") and changed.ignored["age"] == "given"
    answers = path.read_text().replace(",1\n", ",yes\n").replace(",0\n", ",no\n")
    path.write_text(answers)
    assert load(path, schema=guessed, label="click").schema.label == Label("click", "==", "yes")
    labelled = load(path, schema=guessed, label="click", positive="no").schema
    assert load(path, schema=labelled, positive="yes").schema.label == Label("click", "==", "yes")
    freed = load(path, schema=labelled, label="age>=22").schema
    assert freed.ignored["click"] == "was the label"
    assert (
        load(path, schema=labelled, label="age>=22", kinds={"click": "categorical"}).schema["click"].reason == "given"
    )
    with pytest.raises(SchemaError, match="no column 'users'; did you mean 'user'"):
        load(path, schema=file, user="users")


def test_crosses_are_embedded_where_that_is_asked_for(path: Path) -> None:
    crosses = [("user", "genres")]
    for wanted in (False, True):
        found = load(path, label="click", crosses=crosses, embed_crosses=wanted).schema
        assert found["user x genres"].embed is wanted
        assert load(path, schema=found).schema == found
    options = DataConfig.of({"label": "click", "crosses": crosses, "embed_crosses": True})
    assert load(path, **options.columns_of()).schema == found
