"""Publications of small uploads that end together: what all of them wait for is waited for once.

Rules of this room:

- While a batch is under way others come, and are the next. One that cannot be done does not stand in the way of others.
- Whoever may have to wait alone does: one that is not small, and one that replaces something, under the root's lock.
- A batch gives only names that were nobody's, so whatever becomes of one of it, no other notices.
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
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.publishing.publication import Publication

__all__ = ["GroupCommit"]

#: Publications in a batch at most: one that comes just then waits for so many before its own batch begins.
MOST = 64
#: Seconds from which on a step of one is slow: then threads share the others, and the disk has many at once.
SLOW = 0.001


class GroupCommit:
    """The publications on one disk. `storage` has one; its methods are called on the loop."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._waiting: deque[tuple[Publication, asyncio.Future[None]]] = deque()
        self._pending: set[asyncio.Future[None]] = set()
        self._busy = False
        #: Told apart by it is what this process stages from what others do.
        self.token = token_hex(4)

    def begin(self, publication: Publication) -> "asyncio.Future[None]":
        """Publish it, with others if it is small. Done when it has its outcome, whatever that is. Nobody stops it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.add(done)
        done.add_done_callback(self._pending.discard)
        if not publication.held:
            self._alone(publication, done)
        else:
            self._waiting.append((publication, done))
            if not self._busy:
                self._batch()
        return done

    async def close(self) -> None:
        """Wait for all that has begun."""
        while self._pending:
            await asyncio.wait(self._pending)

    def _batch(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        publications = [publication for publication, _ in batch]
        self._busy = True

        def end(running: "asyncio.Future[None]") -> None:
            self._busy = False
            error = running.exception()
            for publication, done in batch:
                if error is None and publication.replaces:
                    self._alone(publication, done)
                else:
                    _end(publication, done, error)
            if self._waiting:
                self._batch()

        self._run(lambda: publish_together(self._disk, publications)).add_done_callback(end)

    def _alone(self, publication: Publication, done: "asyncio.Future[None]") -> None:
        running = self._run(lambda: publish_alone(self._disk, publication))
        running.add_done_callback(lambda running: _end(publication, done, running.exception()))

    def _run(self, function: Callable[[], None]) -> "asyncio.Future[None]":
        try:
            return self._disk.run_sync(function)
        except StorageFailed as error:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed


def _end(publication: Publication, done: "asyncio.Future[None]", error: BaseException | None) -> None:
    if error is not None:
        publication.fail(error)
    if not done.done():
        done.set_result(None)


def publish_alone(disk: Disk, publication: Publication) -> None:
    """Publish it; it knows its outcome. Blocks."""
    for step in (Publication.write, Publication.sync, Publication.place, _root_of(disk), Publication.confirm):
        publication.attempt(step)
    publication.end()


def publish_together(disk: Disk, publications: Sequence[Publication]) -> None:
    """Publish them, each with its own outcome, but for those that turn out to replace something. Blocks."""
    _each(disk, publications, partial(Publication.attempt, step=Publication.write))
    _each(disk, publications, partial(Publication.attempt, step=Publication.sync))
    for publication in publications:
        publication.attempt(Publication.place_new)
    new = [publication for publication in publications if not publication.replaces]
    for step in (_root_of(disk), Publication.confirm):
        for publication in new:
            publication.attempt(step)
    for publication in new:
        publication.end()


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
