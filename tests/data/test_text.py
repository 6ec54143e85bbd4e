import gzip
from contextlib import nullcontext
from pathlib import Path

import polars as pl
import pytest

from crossfield.data.text import Layout, can_be_category, scan_text, sniff, to_floats
from crossfield.data.tokens import canonical
from crossfield.errors import DataError, SchemaError


def write(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, **layout: object) -> pl.DataFrame:
    return scan_text([path], Layout(**layout)).collect()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "separator", "num_columns"),
    [
        ("a,b,c\n1,2,3\n4,5,6\n", ",", 3),
        ("a\tb\n1\tx, y\n2\tz\n", "\t", 2),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";", 2),
        ("1|Toy Story (1995)|Tom, Tim\n2|Heat|Al\n", "|", 3),
        ("1::Toy Story::Animation|Comedy\n2::Heat::Crime\n", "::", 3),
        ("1 2 3\n4 5 6\n", " ", 3),
        ("39, State-gov, 77\n50, Self emp, 83\n", ",", 3),
        ("word\nother\n", ",", 1),
    ],
)
def test_the_separator_is_found(tmp_path: Path, content: str, separator: str, num_columns: int) -> None:
    form = sniff(write(tmp_path, content, "rows.txt"))
    assert (form.separator, len(form.names)) == (separator, num_columns)


@pytest.mark.parametrize("name", ["rows.csv", "rows.txt"])
@pytest.mark.parametrize("rows", ["click;age\n1;7,5\n0;30,25\n", "click;age;sum\n1;7,5;1,5\n0;3,25;0,5\n"])
def test_decimal_commas_separate_no_cells(tmp_path: Path, name: str, rows: str) -> None:
    assert sniff(write(tmp_path, rows, name)).separator == ";"


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ("age,city\n31,Paris\n40,Rome\n", True),
        ("31,Paris\n40,Rome\n", False),
        ("user,item\nu1,i1\nu2,i9\n", True),
        ("12-7-9,72-4\n5-8-1,49-2\n", False),
        ("anna,paris\nbob,rome\n", False),
        (",age,city\n0,31,Paris\n1,40,Rome\n", True),
        ("name,kind\n" + "".join(f"n{i % 7},k{i % 2}\n" for i in range(20)), True),
        ("name,name\n1,2\n", False),
    ],
)
def test_a_header_has_no_numbers_and_differs_from_the_rows_below(tmp_path: Path, content: str, header: bool) -> None:
    assert sniff(write(tmp_path, content)).header is header


def test_a_first_row_that_holds_a_name_somebody_spoke_of_is_a_header(tmp_path: Path) -> None:
    path = write(tmp_path, "city,name\nparis,bob\n")
    assert not sniff(path).header
    assert sniff(path, Layout(known=("city",))).names == ("city", "name")


def test_types_are_decided_by_the_last_row_too(tmp_path: Path) -> None:
    early = "".join(f"{i},{i},{i}\n" for i in range(30_000))
    frame = read(write(tmp_path, "whole,real,text\n" + early + "7,0.5,T8H1N\n"))
    assert dict(frame.schema) == {"whole": pl.Int64, "real": pl.Float64, "text": pl.String}
    assert frame["text"].null_count() == 0
    assert frame.row(-1) == (7, 0.5, "T8H1N")


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", "-2", "0"], pl.Int64),
        (["1700000000000000", "-170000000000000000"], pl.Int64),
        (["1700000000000000", "1.5"], pl.String),
        (["1", "2.5", ".5", "1e-05", "1.5E3", "nan"], pl.Float64),
        (["007", "12"], pl.String),
        (["+49", "12"], pl.String),
        (["68e01234", "12345678"], pl.String),
        (["10000169349117863715", "1"], pl.String),
        (["True", "False"], pl.String),
        (["", "x"], pl.String),
    ],
)
def test_a_column_is_a_number_only_where_nothing_of_an_id_is_lost(
    tmp_path: Path, cells: list[str], dtype: pl.DataType
) -> None:
    path = write(tmp_path, "key,value\n" + "".join(f"1,{cell}\n" for cell in cells))
    assert read(path).schema["value"] == dtype


@pytest.mark.parametrize(
    ("cells", "dtype"), [(["2.1", "2.10"], pl.String), (["3.0", ""], pl.String), (["3", "-2", ""], pl.Int64)]
)
def test_a_column_that_is_spelled_is_a_number_only_where_its_text_is_too(
    tmp_path: Path, cells: list[str], dtype: pl.DataType
) -> None:
    path = write(tmp_path, "spelled,value\n" + "".join(f"{cell},2.10\n" for cell in cells))
    assert dict(read(path, spelled=("spelled",)).schema) == {"spelled": dtype, "value": pl.Float64}


def test_quotes_crlf_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path, b'\xef\xbb\xbfa,b,c\r\n1,"x, y",\r\n2,"he said ""hi""\nand left",3\r\n')
    assert read(path).to_dicts() == [
        {"a": 1, "b": "x, y", "c": None},
        {"a": 2, "b": 'he said "hi"\nand left', "c": 3},
    ]


def test_a_quote_is_text_where_no_cell_is_quoted(tmp_path: Path) -> None:
    path = write(tmp_path, 'size\tn\n5" pipe\t1\n"open\t2\n', "rows.tsv")
    assert read(path)["size"].to_list() == ['5" pipe', '"open']


def test_spaces_around_cells_go_and_missing_is_what_was_said(tmp_path: Path) -> None:
    path = write(tmp_path, "39, State-gov, 77\n50, ?, 83\n?, Private, ?\n", "adult.data")
    assert read(path)["column_2"].to_list() == ["State-gov", "?", "Private"]
    for separator in (None, ", "):
        frame = read(path, missing=("?",), separator=separator)
        assert frame.rows() == [(39, "State-gov", 77), (50, None, 83), (None, "Private", None)]


def test_missing_holds_whatever_separates_the_cells(tmp_path: Path) -> None:
    for separator in (",", "::"):
        path = write(tmp_path, "7,x,-9\n-9.0,NA,1\n,y,-9\n".replace(",", separator), "rows.txt")
        assert read(path, missing=("NA", "-9")).rows() == [(7, "x", None), (None, None, 1), (None, "y", None)]


def test_a_headerless_tsv_with_gaps(tmp_path: Path) -> None:
    path = write(tmp_path, "0\t1\t\t68fd1e64\n1\t\t5\t\n", "day.txt")
    frame = read(path, columns=("label", "I1", "I2", "C1"))
    assert frame.rows() == [(0, 1, None, "68fd1e64"), (1, None, 5, None)]


def test_gzip_is_seen_through_by_content(tmp_path: Path) -> None:
    path = write(tmp_path, gzip.compress(b"a,b\n1,x\n2,y\n"), "rows.csv.gz")
    assert read(path).rows() == [(1, "x"), (2, "y")]


def test_blank_lines_are_no_rows_but_rows_of_gaps_are(tmp_path: Path) -> None:
    assert read(write(tmp_path, "a,b\n1,2\n\n3,4\n\n")).rows() == [(1, 2), (3, 4)]
    assert read(write(tmp_path, "a,b\n1,2\n,\n3,4\n")).rows() == [(1, 2), (None, None), (3, 4)]


def test_given_names_keep_a_headers_own_order_and_may_lack_the_optional_one(tmp_path: Path) -> None:
    names = ("label", "age", "city")
    headed = write(tmp_path, "city,age,label\nrome,40,1\n")
    assert read(headed, columns=names).to_dicts() == [{"city": "rome", "age": 40, "label": 1}]
    unlabelled = write(tmp_path, "40,rome\n31,paris\n")
    assert read(unlabelled, columns=names, optional=("label",)).columns == ["age", "city"]
    with pytest.raises(DataError, match="has 2 columns, 3 names were given: label, age, city"):
        read(unlabelled, columns=names)


def test_several_files_are_one_table_in_order(tmp_path: Path) -> None:
    files = [write(tmp_path, f"a,b\n{i},{i}.5\n", f"{i}.csv") for i in (2, 1)]
    assert scan_text(files, Layout()).collect().rows() == [(2, 2.5), (1, 1.5)]
    files.append(write(tmp_path, "b,a\n1,2\n", "3.csv"))
    with pytest.raises(DataError, match=r"3\.csv has other columns \(b, a\)"):
        scan_text(files, Layout())


def test_row_order_survives_a_parallel_scan(tmp_path: Path) -> None:
    path = write(tmp_path, "row,x\n" + "".join(f"{i},some text to fill the line\n" for i in range(200_000)))
    frame = scan_text([path], Layout()).filter(pl.col("row") % 2 == 1).collect(engine="streaming")
    assert frame["row"].to_list() == list(range(1, 200_000, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"user,item\n", "has a header .user, item. and no rows"),
        (b"\x89HDF\r\n\x00\x00", "its content is binary"),
        ("id,title\n1,Léon\n".encode("latin-1"), "line 2: not UTF-8 text"),
        (b"0 1 2 3\n1 5\n2 7 9\n", "no separator gives its rows the same number of cells"),
        (b"a,b\n" + b"1,2\n" * 20 + b"1,2,3\n", "line 22: a row has 3 cells instead of 2: '1,2,3'; it is split at ','"),
        (
            b"1::2\n" * 20 + b"1::2::3\n",
            "line 21: a row has 3 cells .*; it is split at '::': .* or name another separator",
        ),
        (b"a,a\n1,2\n", "two columns named 'a'"),
    ],
)
def test_what_is_no_table_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, content, "rows.csv" if b"," in content else "rows.txt")
    with pytest.raises(DataError, match=message):
        read(path, **({"header": True} if b"a,a" in content else {}))


def test_a_quote_that_is_never_closed_is_an_error_and_no_crash(tmp_path: Path) -> None:
    path = write(tmp_path, 'a,b\n1,x\n2,"open\n' + "3,y\n" * 100_000)
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_a_cut_gzip_file_is_named(tmp_path: Path) -> None:
    content = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(200_000)))
    with pytest.raises(DataError, match=r"rows\.csv\.gz cannot be read"):
        read(write(tmp_path, content[: len(content) // 2], "rows.csv.gz"))


def test_bytes_that_are_no_text_far_down_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, b"id,title\n" + b"1,plain title of a film\n" * 60_000 + "2,Léon\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8 text; convert the file"):
        read(path)


def test_numbers_and_booleans_that_text_spells() -> None:
    text = pl.DataFrame({"x": ["1.5", " 2 ", "True", "FALSE", "old", "", None]})
    assert text.select(to_floats(pl.col("x"))).to_series().to_list() == [1.5, 2, 1, 0, None, None, None]


CATEGORIES = (pl.Float32, pl.UInt64, pl.Decimal(10, 2), pl.Boolean, pl.Date, pl.Time, pl.Datetime("us"), pl.String)
OTHERS = (pl.Duration("us"), pl.Binary, pl.Struct({"a": pl.Int64}), pl.List(pl.String), pl.Object)


@pytest.mark.parametrize("dtype", [*CATEGORIES, pl.Null, pl.Categorical(), *OTHERS])
def test_what_can_be_a_category_has_a_canonical_text(dtype: pl.DataType) -> None:
    dtype = pl.Schema({"x": dtype})["x"]
    assert can_be_category(dtype) == (dtype not in OTHERS)
    with nullcontext() if can_be_category(dtype) else pytest.raises(SchemaError, match="cannot be a category"):
        canonical(pl.col("x"), dtype)
