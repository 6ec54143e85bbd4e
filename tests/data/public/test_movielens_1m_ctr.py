from collections.abc import Callable
from pathlib import Path

import polars as pl

from crossfield.data.public import PublicData
from crossfield.data.public.movielens_1m_ctr import MOVIELENS_1M_CTR
from crossfield.schema import Kind


def write(folder: Path, num_ratings: int) -> None:
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    films = "1::Toy Story (1995)::Animation|Children's|Comedy\n73::Misérables, Les (1995)::Drama|Musical\n"
    (folder / "movies.dat").write_bytes(films.encode("latin-1"))
    ratings = [f"{1 + row % 2}::{(1, 73)[row % 2]}::{1 + row % 5}::{978300760 + row}" for row in range(num_ratings)]
    (folder / "ratings.dat").write_text("\n".join(ratings) + "\n")


def test_three_stars_go_and_the_rest_is_parted_8_to_1_to_1(tmp_path: Path) -> None:
    write(tmp_path, 100)
    data = MOVIELENS_1M_CTR.load(tmp_path)
    assert data.valid is not None and data.test is not None
    parts = [one.frame.collect() for one in (data.train, data.valid, data.test)]
    assert [len(one) for one in parts] == [64, 8, 8]
    assert sorted(pl.concat(parts)["rating"]) == [1] * 20 + [2] * 20 + [4] * 20 + [5] * 20
    again = MOVIELENS_1M_CTR.load(tmp_path)
    assert again.test is not None and again.test.frame.collect().equals(parts[2])


def test_seven_fields_of_user_and_film(tmp_path: Path) -> None:
    write(tmp_path, 50)
    schema = MOVIELENS_1M_CTR.load(tmp_path).train.schema
    kinds = {one.name: one.kind for one in schema.features}
    single = ("user_id", "item_id", "gender", "age", "occupation", "year")
    assert kinds == {**dict.fromkeys(single, Kind.CATEGORICAL), "genres": Kind.MULTI}
    assert (schema.user, schema.item, schema.time) == ("user_id", "item_id", None)
    assert str(schema.label).startswith("rating>=4")


def test_the_real_files_have_their_known_counts(load_or_skip: Callable[[str], PublicData]) -> None:
    data = load_or_skip("movielens-1m-ctr")
    assert data.valid is not None and data.test is not None
    assert sum(one.num_rows for one in (data.train, data.valid, data.test)) == 739_012
