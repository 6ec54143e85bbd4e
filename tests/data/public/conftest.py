from collections.abc import Callable
from functools import cache

import pytest

from crossfield.data.public import PublicData, public_set


@pytest.fixture(scope="session")
def load_or_skip() -> Callable[[str], PublicData]:
    """Load a public data set from CROSSFIELD_DATA, or skip and say which files are missing."""

    @cache
    def load(name: str) -> PublicData:
        one = public_set(name)
        if missing := one.missing():
            pytest.skip(f"{name}: {', '.join(missing)} not in {one.folder()}; set CROSSFIELD_DATA")
        return one.load()

    return load
