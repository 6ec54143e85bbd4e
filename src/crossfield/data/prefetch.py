"""Work ahead: a thread makes the next items while the caller is busy with this one."""

from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

Item = TypeVar("Item")

_PATIENCE = 0.1
"""Seconds after which a thread that cannot go on looks whether anybody still waits for it."""


def prefetched(items: Iterable[Item], depth: int = 2) -> Generator[Item, None, None]:
    """The same items in the same order, up to ``depth`` of them made beforehand by a thread.

    An error in making them is raised where its item would have come. The thread ends with the iterator, also where
    that is left early.
    """
    queue: Queue[tuple[Item] | BaseException | None] = Queue(depth)
    left = Event()
    thread = Thread(target=_make, args=(items, queue, left), name="crossfield prefetch", daemon=True)
    thread.start()
    try:
        while (made := queue.get()) is not None:
            if isinstance(made, BaseException):
                raise made
            yield made[0]
    finally:
        left.set()
        _empty(queue)
        thread.join()


def _make(items: Iterable[Item], queue: "Queue[tuple[Item] | BaseException | None]", left: Event) -> None:
    try:
        for item in items:
            if not _put(queue, (item,), left):
                return
    except BaseException as error:  # whatever it is, it belongs to the thread that waits
        _put(queue, error, left)
    else:
        _put(queue, None, left)


def _put(
    queue: "Queue[tuple[Item] | BaseException | None]", value: tuple[Item] | BaseException | None, left: Event
) -> bool:
    """Hand over a value; False where the caller has left."""
    while not left.is_set():
        try:
            queue.put(value, timeout=_PATIENCE)
            return True
        except Full:
            pass
    return False


def _empty(queue: "Queue[tuple[Item] | BaseException | None]") -> None:
    try:
        while True:
            queue.get_nowait()
    except Empty:
        pass
