"""Publications that end together: what all of them wait for is waited for once.

While a batch is under way others come, and are the next. One that cannot be done does not stand in the way of others.
"""

import asyncio
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from secrets import token_hex

from headgate.errors import StorageFailed
from headgate.storage.disk import Disk
from headgate.storage.publication import Publication

__all__ = ["Commits"]

#: Publications in a batch at most: one that comes just then waits for so many before its own batch begins.
MOST = 64
#: Seconds from which on a step of one is slow: then threads share the others, and the disk has many at once.
SLOW = 0.001


class Commits:
    """The publications on one disk. `storage` has one; its methods are called on the loop."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._waiting: deque[tuple[Publication, asyncio.Future[None]]] = deque()
        self._busy = False
        #: Told apart by it is what this process stages from what others do.
        self.token = token_hex(4)

    def begin(self, publication: Publication) -> "asyncio.Future[None]":
        """Publish it, with others. Done when it has its outcome, whatever that is. A batch is not cancelled."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((publication, done))
        if not self._busy:
            self._begin()
        return done

    def _begin(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        publications = [publication for publication, _ in batch]
        self._busy = True

        def end(running: "asyncio.Future[None]") -> None:
            self._busy = False
            error = running.exception()
            for publication, done in batch:
                if error is not None:
                    publication.fail(error)
                if not done.done():
                    done.set_result(None)
            if self._waiting:
                self._begin()

        try:
            running = self._disk.run(lambda: run(self._disk, publications))
        except StorageFailed as error:
            running = asyncio.get_running_loop().create_future()
            running.set_exception(error)
        running.add_done_callback(end)


def run(disk: Disk, publications: Sequence[Publication]) -> None:
    """Publish them, each with its own outcome. Blocks."""
    for step in (Publication.write, Publication.sync, Publication.place, _root_of(disk), Publication.confirm):
        _each(disk, publications, partial(Publication.attempt, step=step))
    _each(disk, publications, Publication.end)


def _each(disk: Disk, publications: Sequence[Publication], function: Callable[[Publication], None]) -> None:
    """Call `function` with each: one after the other while that is fast, which is cheapest."""
    for number, publication in enumerate(publications, 1):
        began = time.perf_counter()
        function(publication)
        if time.perf_counter() - began > SLOW:
            disk.spread(function, publications[number:])
            return


def _root_of(disk: Disk) -> Callable[[Publication], None]:
    """A step that makes all names durable, when the first comes to it; if that fails, it does for all."""
    outcome: list[int] = []

    def sync(_: Publication) -> None:
        if not outcome:
            outcome.append(0)
            try:
                os.fsync(disk.root)
            except OSError as error:
                outcome[0] = error.errno or errno.EIO
        if outcome[0]:
            raise OSError(outcome[0], os.strerror(outcome[0]))

    return sync
