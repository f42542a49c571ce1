"""Group commit: publications that end at the same time share a turn of a thread and a sync of the directory.

The first publication begins a batch at once; those that come meanwhile are the next batch.

Rules of this file:

- A publication of a batch that fails does not stand in the way of the others.
- A publication that may have to wait runs alone: one that replaces something, which needs the root's lock, and one of a
  partial file, which writes its record.
- A batch replaces no file: so a publication of it that fails leaves the others as they are.
- A batch has a limited number of files that are not durable yet, and of their bytes: it waits for all of them.
"""

import asyncio
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from operator import methodcaller
from secrets import token_hex
from typing import Any

from headgate.errors import StorageFailed
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.publishing.publication import Publication

__all__ = ["GroupCommit"]

#: Publications in one batch at most: one that comes just then waits for so many before its own batch begins.
MAX_BATCH_PUBLICATIONS = 64
#: Bytes of the files in one batch, for the same reason: some milliseconds' work.
MAX_BATCH_BYTES = 16 * 1024 * 1024
#: Seconds from which on a step of one publication is slow: then threads share the others, so that the disk has many at
#: once.
SLOW_STEP_SECONDS = 0.001

_SYNC = methodcaller("sync")
_CONFIRM = methodcaller("confirm")


class GroupCommit:
    """The publications on one disk. The storage has one of these; its methods are called on the loop."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._waiting: deque[tuple[Publication[Any], asyncio.Future[None]]] = deque()
        self._pending: set[asyncio.Future[None]] = set()
        self._busy = False
        #: Tells the staged files of this process from those of others on the same root.
        self.token = token_hex(4)

    def begin(self, publication: "Publication[Any]") -> "asyncio.Future[None]":
        """Begin `publication`, together with others. The future is done when it has its outcome, whatever that is.

        Cancelling the future stops nothing.
        """
        done = self._pend()
        self._waiting.append((publication, done))
        if not self._busy:
            self._batch()
        return done

    def begin_alone(self, publication: "Publication[Any]") -> "asyncio.Future[None]":
        """As `begin`, but in a turn of its own."""
        done = self._pend()
        self._alone(publication, done)
        return done

    def _pend(self) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.add(done)
        done.add_done_callback(self._pending.discard)
        return done

    async def close(self) -> None:
        """Wait for all that has begun."""
        while self._pending:
            await asyncio.wait(self._pending)

    def _batch(self) -> None:
        batch, size = list[tuple[Publication[Any], asyncio.Future[None]]](), 0
        while self._waiting and len(batch) < MAX_BATCH_PUBLICATIONS and size < MAX_BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += batch[-1][0].size
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

    def _alone(self, publication: "Publication[Any]", done: "asyncio.Future[None]") -> None:
        running = self._run(lambda: publish_alone(self._disk, publication))
        running.add_done_callback(lambda running: _end(publication, done, running.exception()))

    def _run(self, function: Callable[[], None]) -> "asyncio.Future[None]":
        try:
            return self._disk.run_sync(function)
        except StorageFailed as error:
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed


def _end(publication: "Publication[Any]", done: "asyncio.Future[None]", error: BaseException | None) -> None:
    if error is not None:
        publication.fail(error)
    if not done.done():
        done.set_result(None)


def publish_alone(disk: Disk, publication: "Publication[Any]") -> None:
    """Publish `publication`, which knows its outcome then. Its bytes have been written. Blocks."""
    for step in (_SYNC, methodcaller("place"), _root_of(disk), _CONFIRM):
        publication.attempt(step)
    publication.end()


def publish_together(disk: Disk, publications: Sequence["Publication[Any]"]) -> None:
    """Publish them, each with its own outcome, but for those that turn out to replace something. Blocks."""
    _each(disk, publications, methodcaller("attempt", methodcaller("write")))
    _each(disk, publications, methodcaller("attempt", _SYNC))
    for publication in publications:
        publication.attempt(methodcaller("place_new"))
    new = [publication for publication in publications if not publication.replaces]
    for step in (_root_of(disk), _CONFIRM):
        for publication in new:
            publication.attempt(step)
    for publication in new:
        publication.end()


def _each(
    disk: Disk, publications: Sequence["Publication[Any]"], function: "Callable[[Publication[Any]], None]"
) -> None:
    """Call `function` with each: one after the other while that is fast, which is cheapest."""
    for number, publication in enumerate(publications, 1):
        began = time.perf_counter()
        function(publication)
        if time.perf_counter() - began > SLOW_STEP_SECONDS:
            disk.spread(function, publications[number:])
            return


def _root_of(disk: Disk) -> "Callable[[Publication[Any]], None]":
    """A step that makes all names durable, when the first comes to it; if that fails, it does for all."""
    outcome: list[int] = []

    def sync(_: "Publication[Any]") -> None:
        if not outcome:
            outcome.append(0)
            try:
                os.fsync(disk.root)
            except OSError as error:
                outcome[0] = error.errno or errno.EIO
        if outcome[0]:
            raise OSError(outcome[0], os.strerror(outcome[0]))

    return sync
