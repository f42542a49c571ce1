"""Listing what is published in a directory, for many who ask at once.

Rules of this file:

- A caller is told what was there after it asked: a scan of the directory that had begun before does not serve it, the
  next one does, and all callers that wait for it share it. However many ask, there is one scan at a time.
- Names in their order are remembered for as long as the directory does not change, which its own time tells.
- A page is looked up last, file by file: a file that is gone by then is not listed.
"""

import asyncio
import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, TypeVar

from headgate.storage.entry import Cursor, Entry, SortKey
from headgate.storage.local.catalog.catalog import cursors, published_names, stat_readable
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.disk.yielding import sorted_yielding, yielding

__all__ = ["Listings"]

T = TypeVar("T")

#: Seconds by which a directory must have been at rest before its names are remembered: its time moves in steps of the
#: kernel's clock, and what changes within one of them does not show.
AT_REST_SECONDS = 0.05

#: Names that are remembered at most: some 10 MB.
MAX_REMEMBERED_NAMES = 100_000


class Listings:
    """Lists the files of one disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._waiting: dict[object, asyncio.Task[Any]] = {}  # have not begun to look yet
        self._looking: dict[object, asyncio.Task[Any]] = {}
        self._remembered: tuple[int, list[Cursor]] | None = None  # the directory's time, and its names in order

    async def page(self, after: Cursor | None, limit: int, sort_key: SortKey, *, descending: bool) -> list[Entry]:
        """See ``storage.contract.Storage.list``."""
        found = await self._shared(
            sort_key, self._names if sort_key is SortKey.NAME else lambda: cursors(self._disk, sort_key)
        )
        return await self._disk.run_scan(
            lambda: _page(self._disk, found, after, limit, sort_key, descending=descending)
        )

    async def close(self) -> None:
        """Wait for what still looks."""
        while tasks := {*self._waiting.values(), *self._looking.values()}:
            await asyncio.wait(tasks)

    async def _shared(self, key: object, look: Callable[[], T]) -> T:
        """What `look` gives, called in a thread after now; once for all who wait for it."""
        task: asyncio.Task[T] | None = self._waiting.get(key)
        if task is None:
            task = asyncio.create_task(self._look(key, look, self._looking.get(key)))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._waiting[key] = task
        return await asyncio.shield(task)

    async def _look(self, key: object, look: Callable[[], T], before: "asyncio.Task[Any] | None") -> T:
        if before is not None:
            await asyncio.wait([before])
        task = self._looking[key] = self._waiting.pop(key)
        try:
            return await self._disk.run_scan(look)
        finally:
            if self._looking.get(key) is task:
                del self._looking[key]

    def _names(self) -> list[Cursor]:
        """All names, in order. Blocks."""
        with translate_os_errors():
            modified, now = os.fstat(self._disk.root).st_mtime_ns, time.time_ns()
        if self._remembered is not None and self._remembered[0] == modified:
            return self._remembered[1]
        names = [(0, name) for name in sorted_yielding(published_names(self._disk))]
        rests = now - modified > AT_REST_SECONDS * 1e9
        self._remembered = (modified, names) if rests and len(names) <= MAX_REMEMBERED_NAMES else None
        return names


def _page(
    disk: Disk, found: list[Cursor], after: Cursor | None, limit: int, sort_key: SortKey, *, descending: bool
) -> list[Entry]:
    """Up to `limit` files that are still there, of the sorted places `found` those after `after`. Blocks."""
    if descending:
        end = len(found) if after is None else bisect_left(found, after)
        candidates = (found[place] for place in range(end - 1, -1, -1))
    else:
        start = 0 if after is None else bisect_right(found, after)
        candidates = (found[place] for place in range(start, len(found)))
    page: list[Entry] = []
    for place in yielding(candidates):
        if len(page) == limit:
            break
        entry = stat_readable(disk, place[1].decode())
        if entry is not None and sort_key.cursor(entry) == place:  # or it has changed since, and stands elsewhere
            page.append(entry)
    return page
