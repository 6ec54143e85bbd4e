import threading
import time
from collections.abc import Iterator

import pytest

from crossfield.data.prefetch import prefetched


def test_the_same_items_in_the_same_order() -> None:
    assert list(prefetched(range(50))) == list(range(50))
    assert list(prefetched([])) == []
    assert list(prefetched([None, None])) == [None, None]


def test_items_are_made_while_the_caller_is_busy_and_not_many() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    ahead = prefetched(items(), depth=2)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert made == [0, 1, 2, 3], "two lie ready and one waits to be put there"
    ahead.close()


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("row 7")

    ahead = prefetched(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="row 7"):
        next(ahead)


def test_the_thread_ends_where_the_caller_leaves_early() -> None:
    before = threading.active_count()
    for number in prefetched(range(1000)):
        if number == 3:
            break
    assert threading.active_count() == before
