"""Long work in a thread, with pauses in which the event loop gets the interpreter.

A thread whose calls are all short keeps the interpreter to itself: the loop would wait for as long as the interpreter
lets a thread go on (5 ms), each time that it comes back from a call of its own.
"""

import time
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import TypeVar

__all__ = ["sorted_yielding", "yielding"]

T = TypeVar("T")
Sortable = TypeVar("Sortable", bytes, tuple[int, bytes])

#: Things that a thread looks at between two pauses: about a millisecond's work.
ITEMS_PER_PAUSE = 100
PAUSE_SECONDS = 0.001


def yielding(things: Iterable[T], per_pause: int = ITEMS_PER_PAUSE) -> Iterator[T]:
    """`things`, for a thread that has many of them to look at, with a pause after each `per_pause`."""
    for number, thing in enumerate(things, 1):
        yield thing
        if not number % per_pause:
            time.sleep(PAUSE_SECONDS)


#: Things that are sorted at once: a sort keeps the interpreter to itself, a millisecond for so many.
ITEMS_PER_SORT = 4000


def sorted_yielding(things: Iterable[Sortable]) -> list[Sortable]:
    """`things` in order, as ``sorted`` has them, for a thread: sorted in runs, which are then merged one by one."""
    runs = []
    left = iter(things)
    while run := sorted(islice(left, ITEMS_PER_SORT)):
        runs.append(run)
        time.sleep(PAUSE_SECONDS)
    return list(yielding(merge(*runs), ITEMS_PER_SORT))
