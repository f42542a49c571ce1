"""Threads for work that keeps a processor busy: one pool for each kind of it, and none that others have.

asyncio has a pool of its own, which belongs to the embedding service. A zip that waits for a slow disk, or the digest
of gigabytes, would take its threads, and those of each other.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["DIGESTS", "ZIPS", "Pool"]

T = TypeVar("T")


class Pool:
    """Up to `threads` threads, made as they are needed."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._threads = threads
        self._executor: ThreadPoolExecutor | None = None

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Call `function` in a thread. If the future is cancelled, the thread goes on."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads, self._name)
        return asyncio.get_running_loop().run_in_executor(self._executor, function)


#: Digests keep processors busy, outside of the interpreter's lock: one of them is left to the loop.
DIGESTS = Pool("headgate-digests", min(4, max(1, (os.cpu_count() or 1) - 1)))

#: A zip waits for the disk most of the time, in a thread of its own; more zips than that take turns, a chunk each.
ZIPS = Pool("headgate-zips", 32)
