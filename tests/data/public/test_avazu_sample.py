from collections.abc import Callable
from pathlib import Path

from crossfield.data.dataset import load
from crossfield.data.public import PublicData, data_folder
from crossfield.data.public.avazu_sample import AVAZU_SAMPLE, OPTIONS
from crossfield.data.source import Layout
from crossfield.schema import Kind

HEADER = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,"
    "device_ip,device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21\n"
)
LINES = (
    "1000009418151094273,0,14102100,1005,0,1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,a99f214a,"
    "ddd2926e,44956a24,1,2,15706,320,50,1722,0,35,-1,79\n"
    "10001868339616595934,1,14102100,1005,1,e151e245,7e091613,f028772b,ecad2386,7801e8d9,07d7df22,a99f214a,"
    "5d877109,8f5c9827,1,0,17747,320,50,1974,2,39,100019,33\n"
)


def test_files_with_and_without_a_header_read_the_same(tmp_path: Path) -> None:
    for name in AVAZU_SAMPLE.files:
        (tmp_path / name).write_text(HEADER + LINES if "train" in name else LINES)
    data = AVAZU_SAMPLE.load(tmp_path)
    assert data.test is not None
    train, test = data.train.frame.collect(), data.test.frame.collect()
    assert train.columns == HEADER.strip().split(",")
    assert train["click"].to_list() == test["click"].to_list() == [0, 1]
    assert train["C20"].to_list() == test["C20"].to_list() == [-1, 100019]
    assert data.train.schema.fingerprint == data.test.schema.fingerprint


def test_twenty_one_categories_and_no_id(tmp_path: Path) -> None:
    for name in AVAZU_SAMPLE.files:
        (tmp_path / name).write_text(HEADER + LINES)
    schema = AVAZU_SAMPLE.load(tmp_path).train.schema
    assert [one.kind for one in schema.features] == [Kind.CATEGORICAL] * 21
    assert set(schema.ignored) == {"id", "hour"}


def test_a_plain_path_with_flags_is_the_same_data(load_or_skip: Callable[[str], PublicData]) -> None:
    public = load_or_skip("avazu-sample")
    plain = load(
        data_folder() / "avazu-sample" / "wide_resdnn.train.csv",
        label="click",
        ignore=("id", "hour"),
        kinds=OPTIONS.kinds,
        layout=Layout(columns=OPTIONS.columns, separator=","),
    )
    assert plain.schema.fingerprint == public.train.schema.fingerprint
    assert plain.frame.collect().equals(public.train.frame.collect())


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    data = load_or_skip("avazu-sample")
    assert data.valid is not None and data.test is not None
    assert [part.num_rows for part in (data.train, data.valid, data.test)] == [8_087, 480, 432]
    assert data.train.frame.collect()["hour"].unique().to_list() == [14102100]  # the note about one hour holds
