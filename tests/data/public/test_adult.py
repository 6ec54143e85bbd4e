from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import polars as pl

from crossfield.data.dataset import load
from crossfield.data.public import PublicData, data_folder
from crossfield.data.public.adult import ADULT, OPTIONS, strip_frame
from crossfield.data.source import Layout
from crossfield.schema import Kind

TRAIN = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, 2174, 0, 40, "
    "United-States, <=50K\n"
    "52, ?, 209642, HS-grad, 9, Married-civ-spouse, Exec-managerial, Husband, White, Male, 0, 0, 45, ?, >50K"
)
TEST = (
    "44, Private, 160323, Some-college, 10, Divorced, Sales, Own-child, Black, Male, 7688, 0, 40, "
    "United-States, >50K.\n"
    "18, ?, 103497, Some-college, 10, Never-married, ?, Own-child, White, Female, 0, 0, 30, United-States, <=50K."
)


def test_blanks_question_marks_and_full_stops_are_taken_off(tmp_path: Path) -> None:
    (tmp_path / "adult.data").write_text(TRAIN)
    (tmp_path / "adult.test").write_text(TEST)
    data = ADULT.load(tmp_path)
    assert data.test is not None and data.valid is None
    train, test = data.train.frame.collect(), data.test.frame.collect()
    assert train["workclass"].to_list() == ["State-gov", None]
    assert train["native_country"].to_list() == ["United-States", None]
    assert train["age"].to_list() == [39, 52]
    assert train["income"].to_list() == ["<=50K", ">50K"]
    assert test["income"].to_list() == [">50K", "<=50K"]
    assert test["occupation"].to_list() == ["Sales", None]


def test_schema_is_five_numbers_and_eight_categories(tmp_path: Path) -> None:
    (tmp_path / "adult.data").write_text(TRAIN)
    (tmp_path / "adult.test").write_text(TEST)
    schema = ADULT.load(tmp_path).train.schema
    kinds = [one.kind for one in schema.features]
    assert (kinds.count(Kind.DENSE), kinds.count(Kind.CATEGORICAL)) == (5, 8)
    assert str(schema.label) == "income==>50K"
    assert "fnlwgt" in schema.ignored


def test_the_archive_s_comment_and_blank_lines_are_stripped() -> None:
    assert strip_frame(b"|1x3 Cross validator\n25, Private\n38, Private\n\n") == b"25, Private\n38, Private"


def test_a_plain_path_with_flags_is_the_same_data(load_or_skip: Callable[[str], PublicData]) -> None:
    public = load_or_skip("adult")
    layout = Layout(columns=OPTIONS.columns, header=False, separator=", ", missing=("?", ""))
    plain = load(
        data_folder() / "adult" / "adult.data",
        label="income",
        positive=">50K",
        ignore=("fnlwgt",),
        kinds=OPTIONS.kinds,
        layout=layout,
    )
    assert plain.schema.fingerprint == public.train.schema.fingerprint
    assert plain.frame.collect().equals(public.train.frame.collect())


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    data = load_or_skip("adult")
    assert data.test is not None
    for part, num_rows, num_positive in ((data.train, 32_561, 7_841), (data.test, 16_281, 3_846)):
        rows = part.frame.collect()
        assert (len(rows), rows.filter(pl.col("income") == ">50K").height) == (num_rows, num_positive)
        assert set(rows["income"]) == {">50K", "<=50K"}
    assert data.train.frame.collect()["workclass"].null_count() == 1_836
    assert not any("not the copy" in note for note in data.notes)


def test_uci_s_own_files_become_the_copies_at_hand(load_or_skip: Callable[[str], PublicData]) -> None:
    load_or_skip("adult")
    published = {
        "adult.data": (b"", "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d"),
        "adult.test": (
            b"|1x3 Cross validator\n",
            "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
        ),
    }
    for name, (first, checksum) in published.items():
        at_hand = (data_folder() / "adult" / name).read_bytes()
        original = first + at_hand + b"\n\n"
        assert sha256(original).hexdigest() == checksum
        assert sha256(strip_frame(original)).hexdigest() == ADULT.files[name]
