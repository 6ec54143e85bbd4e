"""Public data sets by name: what each is, its terms, and a loader that knows headers, joins, thresholds and splits."""

from pathlib import Path

from crossfield.data.public.adult import ADULT
from crossfield.data.public.archive import fetch
from crossfield.data.public.avazu_sample import AVAZU_SAMPLE
from crossfield.data.public.avazu_x4 import AVAZU_X4
from crossfield.data.public.criteo_sample import CRITEO_SAMPLE
from crossfield.data.public.criteo_x4 import CRITEO_X4
from crossfield.data.public.frappe import FRAPPE
from crossfield.data.public.gowalla import GOWALLA
from crossfield.data.public.movielens_1m import MOVIELENS_1M
from crossfield.data.public.movielens_1m_ctr import MOVIELENS_1M_CTR
from crossfield.data.public.movielens_100k import MOVIELENS_100K
from crossfield.data.public.movielenslatest_x1 import MOVIELENSLATEST_X1
from crossfield.data.public.ncf_ml_1m import NCF_ML_1M
from crossfield.data.public.pinterest import PINTEREST
from crossfield.data.public.record import PublicData, PublicSet, RankingTest, data_folder
from crossfield.errors import DataError, nearest

__all__ = ["PUBLIC", "PublicData", "PublicSet", "RankingTest", "data_folder", "download", "load_public", "public_set"]

PUBLIC: dict[str, PublicSet] = {
    "adult": ADULT,
    "movielens-100k": MOVIELENS_100K,
    "movielens-1m": MOVIELENS_1M,
    "movielens-1m-ctr": MOVIELENS_1M_CTR,
    "frappe": FRAPPE,
    "movielenslatest-x1": MOVIELENSLATEST_X1,
    "criteo-sample": CRITEO_SAMPLE,
    "criteo-x4": CRITEO_X4,
    "avazu-sample": AVAZU_SAMPLE,
    "avazu-x4": AVAZU_X4,
    "ncf-ml-1m": NCF_ML_1M,
    "pinterest": PINTEREST,
    "gowalla": GOWALLA,
}


def public_set(name: str) -> PublicSet:
    """The public data set of that name; raises DataError with the nearest known name where there is none."""
    if name not in PUBLIC:
        raise DataError(f"no public data set {name!r}{nearest(name, PUBLIC)}")
    return PUBLIC[name]


def load_public(name: str) -> PublicData:
    """Read a public data set from ``data_folder()``.

    Raises DataError naming the missing files, where they belong, where to get them, and the terms.
    """
    return public_set(name).load()


def download(name: str, *, accept_terms: bool = False) -> tuple[Path, ...]:
    """Fetch a public data set from its official address into ``data_folder()``; gives the paths written.

    Raises DataError showing the terms where they are not accepted; and where no single archive is served, the
    network or the disk fails, or a checksum differs.
    """
    return fetch(public_set(name), accept_terms=accept_terms)
