import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from crossfield.data.dataset import Dataset, load
from crossfield.data.encode import Encoded, Encoder, EncoderConfig, on_disk
from crossfield.data.tokens import hash_tokens
from crossfield.errors import CorruptError, DataError, SchemaError
from crossfield.schema import Feature, FeatureSchema, Kind, Label
from tests.data.tables import Rows, categorical, cross, dataset, dense, fitted

ROWS: Rows = {
    "user": [7, 7, 8, None, 9],
    "film": ["a", "b", "a", "ü", ""],
    "age": [10, 20, None, 40, 50],
    "price": [1.0, None, 3.0, 4.0, 4.0],
    "genres": ["x|y", "y", "", None, "z|x|y"],
    "click": [0, 1, 1, 0, 1],
    "w": [1.0, 2.0, 1.0, 1.0, 0.5],
}
GENRES = Feature("genres", Kind.MULTI, separator="|")
FEATURES = [
    *categorical("user", "film"),
    cross("user", "film", embed=True),
    *dense("age", "price"),
    GENRES,
    cross("genres", "age"),
]
ROLES: dict[str, Any] = {"label": Label("click"), "user": "user", "item": "film", "weight": "w"}
CONFIG = {"features": {"age": {"transform": "buckets", "num_buckets": 2}}, "max_length": 2}
FILMS = dataset(ROWS, FEATURES, **ROLES)
PLAIN = dataset(ROWS, FEATURES[:-1], **ROLES)
"""Without the cross that needs ages in buckets."""


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return fitted(FILMS, **CONFIG)


def same(left: Encoded, right: Encoded) -> bool:
    lists = [(*left.sequences[name], *right.sequences[name]) for name in left.sequences]
    return (
        np.array_equal(left.dense, right.dense)
        and np.array_equal(left.categorical, right.categorical)
        and all(np.array_equal(a, c) and np.array_equal(b, d) for a, b, c, d in lists)
        and np.array_equal(left.groups, right.groups)
    )


def test_the_model_schema(encoder: Encoder) -> None:
    schema = encoder.model_schema
    assert schema.dense == ("price",)
    assert [(one.name, one.num_rows, one.kind, one.embed) for one in schema.categorical] == [
        ("user", 5, Kind.CATEGORICAL, True),
        ("film", 5, Kind.CATEGORICAL, True),
        ("age", 4, Kind.CATEGORICAL, True),
        ("user x film", 5, Kind.CROSS, True),
    ]
    assert [(one.name, one.num_rows, one.kind, one.embed) for one in schema.sequences] == [
        ("genres", 4, Kind.MULTI, True),
        ("genres x age", 6, Kind.CROSS, False),
    ]
    assert (schema.user, schema.item) == ("user", "film")


def test_ids_written_down_by_hand(encoder: Encoder) -> None:
    found = encoder.encode(pl.DataFrame(ROWS), labelled=True, first_row=100)
    # user 7: 2, 8: 3, 9: 4; film a: 2, b: 3, ü: 4; age below 40: 2, from 40: 3; 7 a: 2, 7 b: 3, 8 a: 4.
    assert found.categorical.tolist() == [[2, 2, 2, 2], [2, 3, 2, 3], [3, 2, 0, 4], [0, 4, 3, 0], [4, 0, 3, 0]]
    # z of "z|x|y" falls to max_length; y: 2, x: 3.
    values, offsets = found.sequences["genres"]
    assert (values.tolist(), offsets.tolist()) == ([3, 2, 2, 3, 2], [0, 2, 3, 3, 3, 5])
    # y and below 40 twice: 2; x and below 40: 3; x and from 40: 4; y and from 40: 5.
    values, offsets = found.sequences["genres x age"]
    assert (values.tolist(), offsets.tolist()) == ([3, 2, 2, 4, 5], [0, 2, 3, 3, 3, 5])
    # Known prices 1, 3, 4, 4: mean 3, sd sqrt(1.5).
    np.testing.assert_allclose(found.dense[:, 0], np.array([-2, 0, 0, 1, 1]) / np.sqrt(1.5), rtol=1e-6)
    assert found.labels is not None
    assert found.weights is not None
    assert (found.labels.tolist(), found.weights.tolist()) == ([0, 1, 1, 0, 1], [1, 2, 1, 1, 0.5])
    assert found.rows.tolist() == [100, 101, 102, 103, 104]
    assert found.groups.tolist() == hash_tokens(pl.Series(["7", "7", "8", None, "9"])).tolist()
    assert [found.dense.dtype, found.categorical.dtype, values.dtype] == [np.float32, np.int32, np.int32]


def test_unlabelled_rows_need_no_label_and_no_weight(encoder: Encoder) -> None:
    found = encoder.encode(pl.DataFrame(ROWS).drop("click", "w"), labelled=False)
    assert found.labels is None
    assert found.weights is None


def test_without_a_label_every_labelled_row_is_positive() -> None:
    encoder = fitted(dataset({"a": ["x", "y"]}, categorical("a")))
    labels = encoder.encode(pl.DataFrame({"a": ["x", "z"]}), labelled=True).labels
    assert labels is not None
    assert labels.tolist() == [1, 1]


def test_an_integer_column_reads_like_a_float_column(encoder: Encoder) -> None:
    frame = pl.DataFrame(ROWS).drop_nulls("user")
    as_floats = frame.with_columns(pl.col("user", "age").cast(pl.Float64))
    as_text = frame.with_columns(pl.col("user", "age", "price").cast(pl.String))
    expected = encoder.encode(frame, labelled=False)
    assert same(encoder.encode(as_floats, labelled=False), expected)
    assert same(encoder.encode(as_text, labelled=False), expected)
    refitted = [fitted(dataset(one, FEATURES, **ROLES), **CONFIG) for one in (frame, as_floats)]
    assert refitted[0].fingerprint == refitted[1].fingerprint


def test_a_dict_row_is_encoded_like_the_row_of_a_file(encoder: Encoder) -> None:
    whole = encoder.encode(pl.DataFrame(ROWS), labelled=False)
    for index, row in enumerate(pl.DataFrame(ROWS).to_dicts()):
        assert same(encoder.encode_rows(row), whole.select(np.array([index])))


def test_dict_rows_may_hold_other_types_than_the_file(encoder: Encoder) -> None:
    row = {"user": "7", "film": "a", "age": 10.0, "price": 1, "genres": ["x", "y"]}
    assert same(encoder.encode_rows(row), encoder.encode(pl.DataFrame(ROWS).head(1), labelled=False))


def test_dict_rows_may_mix_types(encoder: Encoder) -> None:
    other = {"film": "a", "age": 1, "price": 1, "genres": None}
    found = encoder.encode_rows([{"user": one, **other} for one in (7, "8", 9.0, None, "new")])
    assert found.categorical[:, 0].tolist() == [2, 3, 4, 0, 1]


def test_missing_and_unseen_values_are_welcome(encoder: Encoder) -> None:
    found = encoder.encode_rows({"user": 99, "film": None, "age": None, "price": None, "genres": "w|x"})
    assert found.categorical.tolist() == [[1, 0, 0, 0]]
    assert found.sequences["genres"][0].tolist() == [1, 3]
    assert found.sequences["genres x age"][0].tolist() == []
    assert found.dense.tolist() == [[0]]


@pytest.mark.parametrize("drop", ["film", "genres", "price"])
def test_a_column_that_is_gone_is_named(encoder: Encoder, drop: str) -> None:
    renamed = {f"{drop}s": values for name, values in ROWS.items() if name == drop}
    frame = pl.DataFrame({**ROWS, **renamed}).drop(drop)
    with pytest.raises(SchemaError, match=rf"no column '{drop}'.*did you mean '{drop}s'"):
        encoder.encode(frame, labelled=False)
    with pytest.raises(SchemaError, match=f"no column '{drop}'"):
        encoder.encode_rows([frame.with_columns(pl.lit(1).alias(drop)).row(0, named=True), frame.row(0, named=True)])
    with pytest.raises(SchemaError, match=f"no column '{drop}'"):
        next(encoder.stream(dataset(frame, FEATURES), labelled=False))


@pytest.mark.parametrize("how", ["time", "random", "user", "leave_one_out"])
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("age", np.inf, "column 'age' has inf in row 47 "),
        ("age", "old", "column 'age' is dense and holds 'old' in row 47 "),
        ("click", 2, "label 'click' is 2 in row 47 "),
        ("weight", -1.0, "weight 'weight' is -1.0 in row 47 "),
    ],
)
def test_a_bad_value_of_a_part_is_in_the_row_that_it_has_in_the_file(
    tmp_path: Path, how: str, column: str, value: object, said: str
) -> None:
    values = {"user": [f"u{i % 7}" for i in range(100)], "age": [i / 2 for i in range(100)], "weight": [1.0] * 100}
    frame = pl.DataFrame({**values, "ts": [37 * i % 100 for i in range(100)], "click": [i % 2 for i in range(100)]})
    bad = pl.Series(column, [*frame[column][:47], value, *frame[column][48:]], strict=False)
    frame.with_columns(bad.cast(pl.String) if isinstance(value, str) else bad).write_parquet(tmp_path / "rows.parquet")
    roles = {"label": "click", "user": "user", "time": "ts", "weight": "weight"}
    encoder = Encoder.fit(load(frame, **roles, kinds={"age": "dense"}))
    whole = load(tmp_path / "rows.parquet", schema=encoder.schema)
    first, *others = whole.split(how, sizes=(0.6, 0.2, 0.2))
    errors = []
    for part in (*first.split("random", sizes=(0.5, 0.5)), *others):
        try:
            list(encoder.stream(part.require(labelled=True), labelled=True))
        except DataError as error:
            errors.append(str(error))
    assert len(errors) == 1 and errors[0].startswith(f"rows.parquet: {said}(counted from 0); ")


def test_what_an_encoder_cannot_learn_from_is_in_the_row_that_it_has_in_the_file() -> None:
    ages = [i / 2 for i in range(100)]
    rows = pl.DataFrame({"age": [*ages[:40], np.inf, *ages[41:]], "ts": range(100, 0, -1), "click": [0, 1] * 50})
    train, _ = load(rows, label="click", time="ts").split("time", sizes=(0.8, 0.2))
    with pytest.raises(DataError, match=r"^Polars frame: column 'age' has inf in row 40 "):
        Encoder.fit(train)


def test_a_time_that_is_missing_in_a_part_is_in_the_row_that_it_has_in_the_file() -> None:
    ages = [i / 2 for i in range(100)]
    rows = pl.DataFrame({"age": ages, "ts": [*range(70), None, *range(29)], "click": [0, 1] * 50})
    first, second = load(rows, label="click", time="ts").split("random", sizes=(0.5, 0.5))
    with pytest.raises(DataError, match=r"^Polars frame: the time 'ts' is missing in row 70 "):
        for part in (first, second):
            part.split("time", sizes=(0.5, 0.5))


def test_a_label_is_needed_where_rows_are_labelled(encoder: Encoder) -> None:
    with pytest.raises(SchemaError, match="no column 'click'"):
        encoder.encode(pl.DataFrame(ROWS).drop("click"), labelled=True)


def test_errors_name_the_row_of_the_source(encoder: Encoder) -> None:
    frame = pl.DataFrame(ROWS)
    with pytest.raises(DataError, match=r"'click' is 2 in row 14 "):
        encoder.encode(frame.with_columns(click=pl.Series([0, 1, 1, 0, 2])), labelled=True, first_row=10)
    with pytest.raises(DataError, match=r"'price' has inf in row 11 "):
        encoder.encode(frame.with_columns(price=pl.Series([1.0, np.inf, 1.0, 1.0, 1.0])), labelled=False, first_row=10)
    with pytest.raises(DataError, match=r"'age'.*row 12 .*'old'"):
        encoder.encode(frame.with_columns(age=pl.Series(["1", "2", "old", "", "5"])), labelled=False, first_row=10)


def test_a_stream_is_the_frame_in_pieces(encoder: Encoder) -> None:
    blocks = list(encoder.stream(FILMS, labelled=True, chunk_rows=2))
    assert [one.num_rows for one in blocks] == [2, 2, 1]
    whole = encoder.encode(pl.DataFrame(ROWS), labelled=True)
    for start, block in zip((0, 2, 4), blocks, strict=True):
        assert same(block, whole.select(np.arange(start, min(start + 2, 5))))
        assert block.rows[0] == start


def test_a_stream_names_the_rows_and_the_one_that_is_bad() -> None:
    data = dataset({"a": range(9), "y": [0, 1, 0, 1, 0, 1, 0, None, 0]}, dense("a"), label=Label("y"))
    with pytest.raises(DataError, match=r"^table: label 'y' is missing in row 7 "):
        list(fitted(data).stream(data, labelled=True, chunk_rows=3))
    text = dataset({"a": [*"0123456", "x", "8"]}, dense("a"))
    with pytest.raises(DataError, match=r"^table: column 'a' holds numbers, but row 7 "):
        list(fitted(data).stream_beside(text, [], labelled=False, chunk_rows=3))


def test_missing_indicators_follow_the_numbers() -> None:
    encoder = fitted(PLAIN, missing_indicator=True, dense="none")
    assert encoder.model_schema.dense == ("age", "price", "age is missing", "price is missing")
    found = encoder.encode(pl.DataFrame(ROWS), labelled=False).dense
    assert found[:3].tolist() == [[10, 1, 0, 0], [20, 3, 0, 1], [30, 3, 1, 0]]
    assert encoder.missing_dense.tolist() == [30, 3, 1, 1]


def test_vocabularies_can_be_read_back(encoder: Encoder) -> None:
    assert encoder.vocabulary("film").rows() == [("a", 2), ("b", 1), ("ü", 1)]
    assert encoder.decode("film", np.array([4, 0, 1, 2])) == ["ü", None, None, "a"]
    assert encoder.counts("film").tolist() == [0, 0, 2, 1, 1]
    assert encoder.id_of("film", ["ü", "new", None]).tolist() == [4, 1, 0]
    assert encoder.id_of("user", [7, 8]).tolist() == encoder.id_of("user", ["7", "8"]).tolist() == [2, 3]
    assert encoder.id_of("user", pl.Series([7.0, 1.0])).tolist() == [2, 1]
    assert encoder.id_of("age", [10, 41]).tolist() == [2, 3]


def test_names_that_are_no_field(encoder: Encoder) -> None:
    with pytest.raises(SchemaError, match="no id field 'flim'; did you mean 'film'"):
        encoder.vocabulary("flim")
    with pytest.raises(SchemaError, match="is a cross"):
        encoder.id_of("user x film", ["7"])


def test_hashed_ids_have_no_vocabulary() -> None:
    encoder = fitted(PLAIN, hash_buckets=4)
    with pytest.raises(SchemaError, match="hashed into 4"):
        encoder.vocabulary("film")
    ids = encoder.encode(pl.DataFrame(ROWS), labelled=False).categorical[:, 1]
    assert set(ids[:4]) <= {2, 3, 4, 5}
    assert (ids[0], ids[4]) == (ids[2], 0)
    assert encoder.decode("film", ids) == [None] * 5


def test_crosses_from_the_ids_of_their_parts(encoder: Encoder) -> None:
    parts = [np.array([2, 3, 2, 0, 1, 4]), np.array([3, 2, 1, 1, 2, 4])]
    # 7 b; 8 a; 7 and an unseen film; nobody; an unseen user; 9 and ü, which never met.
    assert encoder.cross_ids("user x film", parts).tolist() == [3, 4, 1, 0, 1, 1]


def test_crosses_of_hashed_parts_are_refused() -> None:
    encoder = fitted(PLAIN, features={"user": {"hash_buckets": 4}})
    with pytest.raises(SchemaError, match="ids of 'user', which are hashed"):
        encoder.cross_ids("user x film", [np.array([2]), np.array([2])])


@pytest.mark.parametrize("config", [CONFIG, {"hash_buckets": 3, "dense": "quantile", "missing_indicator": True}])
def test_saved_and_loaded(config: dict[str, Any], tmp_path: Path) -> None:
    encoder = fitted(PLAIN, **config)
    encoder.save(tmp_path / "encoder")
    loaded = Encoder.load(tmp_path / "encoder")
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.model_schema == encoder.model_schema
    assert loaded.notes == encoder.notes
    assert same(loaded.encode(pl.DataFrame(ROWS), labelled=False), encoder.encode(pl.DataFrame(ROWS), labelled=False))


def test_a_changed_encoder_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    text = (tmp_path / "encoder.json").read_text()
    content = json.loads(text)
    content["scales"][0]["mean"] += 1
    (tmp_path / "encoder.json").write_text(json.dumps(content))
    with pytest.raises(CorruptError, match="fingerprint differs"):
        Encoder.load(tmp_path)
    (tmp_path / "encoder.json").write_text("{}")
    with pytest.raises(CorruptError, match="no encoder that can be read"):
        Encoder.load(tmp_path)
    (tmp_path / "encoder.json").write_text(text)
    (tmp_path / "vocabularies.arrow").write_bytes(b"ARROW1")
    with pytest.raises(CorruptError, match="no encoder that can be read"):
        Encoder.load(tmp_path)


def test_the_fingerprint_is_of_everything_but_words(encoder: Encoder) -> None:
    assert fitted(FILMS, **CONFIG).fingerprint == encoder.fingerprint
    reasoned = FILMS.schema.with_features(Feature(**{**vars_of(one), "reason": "given"}) for one in FEATURES)
    assert (
        Encoder.fit(Dataset(FILMS.frame, reasoned, "other"), EncoderConfig.of(CONFIG)).fingerprint
        == encoder.fingerprint
    )
    assert fitted(FILMS, **CONFIG, unseen_rate=0.1).fingerprint != encoder.fingerprint
    shorter = Dataset(FILMS.frame.head(4), FILMS.schema, "table")
    assert fitted(shorter, **CONFIG).fingerprint != encoder.fingerprint


def vars_of(feature: Feature) -> dict[str, Any]:
    return {name: getattr(feature, name) for name in Feature.__slots__}


def test_text_files_are_converted_once_and_the_copy_is_gone_afterwards(tmp_path: Path, encoder: Encoder) -> None:
    path = tmp_path / "rows.csv"
    pl.DataFrame(ROWS).with_columns(more=pl.lit(0)).write_csv(path)
    data = Dataset(pl.scan_csv(path), FeatureSchema(tuple(FEATURES), **ROLES), "rows.csv", (path,))
    with on_disk(data, folder=tmp_path) as rows:
        (copy,) = rows.files
        assert (copy.suffix, rows.name) == (".parquet", "rows.csv")
        assert "more" not in rows.frame.collect_schema().names()
        with on_disk(rows) as again:
            assert again is rows
        assert fitted(rows, **CONFIG).fingerprint == encoder.fingerprint
    assert list(tmp_path.iterdir()) == [path]


def test_unreadable_rows_are_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a\n1\nx\n")
    data = Dataset(
        pl.scan_csv(path, schema={"a": pl.Int64}), FeatureSchema(tuple(categorical("a"))), "rows.csv", (path,)
    )
    with pytest.raises(DataError, match=r"rows\.csv cannot be read"):
        fitted(data)


FLAG = pl.DataFrame({"flag": [True, False, True, None], "film": ["a", "b", "a", "b"]})
SPELLED = {
    "real": FLAG,
    "pandas": FLAG.with_columns(flag=pl.Series(["True", "False", "True", None])),
    "upper": FLAG.with_columns(flag=pl.Series(["TRUE", "FALSE", "TRUE", ""])),
    "lower": FLAG.with_columns(flag=pl.Series(["true", "false", "true", None], dtype=pl.Categorical)),
}


@pytest.mark.parametrize("trained", SPELLED)
@pytest.mark.parametrize("config", [{}, {"hash_buckets": 50}])
def test_a_boolean_has_one_token_however_it_is_written(trained: str, config: dict[str, Any], tmp_path: Path) -> None:
    features = [*categorical("flag", "film"), cross("flag", "film")]
    fitted(dataset(SPELLED[trained], features), **config).save(tmp_path)
    encoder, expected = Encoder.load(tmp_path), fitted(dataset(FLAG, features), **config)
    for frame in SPELLED.values():
        assert same(encoder.encode(frame, labelled=False), expected.encode(FLAG, labelled=False))
    if not config:
        assert encoder.vocabulary("flag")["token"].to_list() == ["true", "false"]
        assert (encoder.id_of("flag", ["True", False, "FALSE"]) == [2, 3, 3]).all()


@pytest.mark.parametrize("trained", [pl.Boolean, pl.Int64, pl.Float64])
def test_booleans_and_the_numbers_0_and_1_are_the_same_ids(trained: type[pl.DataType]) -> None:
    encoder = fitted(dataset(FLAG.select(pl.col("flag").cast(trained)), categorical("flag")))
    ids = [[2], [3], [2], [0]]
    for dtype in (pl.Boolean, pl.Int8, pl.Float64):
        assert encoder.encode(FLAG.select(pl.col("flag").cast(dtype)), labelled=False).categorical.tolist() == ids
    for written in (["True", "False", "TRUE", ""], ["1", "0", "1.0", None]):
        assert encoder.encode(pl.DataFrame({"flag": written}), labelled=False).categorical.tolist() == ids
    others = pl.DataFrame({"flag": [2, -1, None]})
    assert encoder.encode(others, labelled=False).categorical.tolist() == [[1], [1], [0]]


def test_text_beside_true_and_false_keeps_its_case() -> None:
    frame = pl.DataFrame({"answer": ["True", "False", "true", "maybe"]})
    encoder = fitted(dataset(frame, categorical("answer")))
    assert sorted(encoder.vocabulary("answer")["token"]) == ["False", "True", "maybe", "true"]
    late = pl.DataFrame({"answer": ["True"] * 1500 + ["maybe"]})
    assert fitted(dataset(late, categorical("answer"))).vocabulary("answer")["token"].to_list() == ["True", "maybe"]


def test_a_whole_number_written_as_text_is_the_number_only_where_training_had_numbers() -> None:
    text = pl.DataFrame({"shop": ["3.0", "3", "4.0", "3.10"]})
    numbers = fitted(dataset({"shop": [3, 3, 4]}, categorical("shop")))
    assert numbers.encode(text, labelled=False).categorical[:, 0].tolist() == [2, 2, 3, 1]
    texts = fitted(dataset({"shop": ["3.0", "3.0", "3"]}, categorical("shop")))
    assert texts.encode(text, labelled=False).categorical[:, 0].tolist() == [2, 3, 1, 1]


def test_the_ids_of_a_file_do_not_depend_on_its_other_rows(tmp_path: Path) -> None:
    rows = pl.DataFrame({"version": ["1.0", "2.1", "2.10", "3.0.1"], "price": ["1.50", "1.5", "2.0", None]})
    rows.write_csv(tmp_path / "train.csv")
    kinds = dict.fromkeys(rows.columns, "categorical")
    encoder = fitted(load(tmp_path / "train.csv", kinds=kinds))
    whole = encoder.encode(load(tmp_path / "train.csv", schema=encoder.schema).head(), labelled=False)
    # Training's version was text, with an id for each spelling, its price a number, with one for 1.50 and 1.5.
    assert whole.categorical.tolist() == [[2, 2], [3, 2], [4, 3], [5, 0]]
    for number in range(len(rows)):
        rows[[number]].write_csv(tmp_path / "one.csv")
        one = load(tmp_path / "one.csv", schema=encoder.schema).require(labelled=False)
        (found,) = encoder.stream(one, labelled=False)
        assert found.categorical.tolist() == [whole.categorical[number].tolist()]


def test_training_under_the_schema_of_other_rows_makes_the_same_ids(tmp_path: Path) -> None:
    pl.DataFrame({"user": ["3.0", "4.50", None, "4.5"], "plan": ["a", "b", "b", "a"]}).write_csv(tmp_path / "rows.csv")
    plain = load(tmp_path / "rows.csv", user="user")
    under = load(tmp_path / "rows.csv", schema=plain.schema)
    assert under.frame.collect_schema()["user"] == pl.String
    assert fitted(under).fingerprint == fitted(plain).fingerprint
    # As many rows of one user have one group, whatever they are written like.
    (block,) = fitted(under).stream(under, labelled=False)
    assert block.groups[1] == block.groups[3] != block.groups[0]


def test_an_encoder_from_before_meanings_keeps_its_fingerprint(tmp_path: Path) -> None:
    encoder = fitted(dataset({"film": ["a", "b"]}, categorical("film")))
    encoder.save(tmp_path)
    assert "meanings" not in json.loads((tmp_path / "encoder.json").read_text())
    assert Encoder.load(tmp_path).fingerprint == encoder.fingerprint


def test_nan_in_dict_rows_is_missing_in_every_column(encoder: Encoder) -> None:
    nan = float("nan")
    gap = encoder.encode_rows(dict.fromkeys(encoder.columns(labelled=False), None))
    assert same(encoder.encode_rows(dict.fromkeys(encoder.columns(labelled=False), nan)), gap)
    several = [{"user": 7, "film": "a", "age": 10, "price": 1.0, "genres": "x"}, dict.fromkeys(ROWS, nan)]
    assert same(encoder.encode_rows(several).select(np.array([1])), replace(gap, rows=np.array([1])))


def test_lists_in_text_are_those_of_a_parquet_file(tmp_path: Path) -> None:
    tags = [["a,b", "c"], ["x", None], [], ["it's", 'say "hi"'], None, ["c"]]
    rows = pl.DataFrame({"y": [0, 1] * 3, "tags": tags, "n": [[1.0, 2.5], [2.0], [], [3.0], None, [1.0]]})
    rows.write_parquet(tmp_path / "rows.parquet")
    for writer in (str, json.dumps, lambda value: str(np.array(value, dtype=object))):
        texts = {name: [None if one is None else writer(one) for one in rows[name].to_list()] for name in ("tags", "n")}
        rows.with_columns(**{name: pl.Series(one) for name, one in texts.items()}).write_csv(tmp_path / "rows.csv")
        kinds = {"tags": "multi", "n": "multi"}
        text, lists = (load(tmp_path / f"rows.{kind}", label="y", kinds=kinds) for kind in ("csv", "parquet"))
        encoder = Encoder.fit(text)
        assert same(*(next(encoder.stream(data, labelled=True)) for data in (text, lists)))
        row = {"tags": writer(["c", "new"]), "n": [2]}
        assert same(encoder.encode_rows(row), encoder.encode_rows({"tags": ["c", "new"], "n": writer([2.0])}))


def test_a_list_in_text_that_cannot_be_read_is_named() -> None:
    rows = {"y": [0, 1], "tags": ["['a', 'b']", "['a' ... 'b']"]}
    data = load(pl.DataFrame(rows), label="y", kinds={"tags": "multi"})
    with pytest.raises(DataError, match=r"^Polars frame cannot be read: column 'tags' holds .*\.\.\.") as said:
        Encoder.fit(data)
    assert "\n" not in str(said.value)
    encoder = Encoder.fit(replace(data, frame=data.frame.head(1)))
    with pytest.raises(DataError, match="rows cannot be read: column 'tags' holds"):
        encoder.encode_rows({"tags": "['a' ... 'b']"})
