"""The two directories of a local storage, and the threads that wait for them.

The event loop waits for no file system. What may wait goes to one of several pools of threads, by what it waits for, so
that a name can be removed while all the threads for data wait for a swamped disk.
"""

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import TypeVar

from headgate.errors import StorageFailed
from headgate.storage.local.disk.congestion import DirectWriteCongestion, PageCacheCongestion
from headgate.storage.local.disk.opening import STAGING, open_staging
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.publishing.changes import ChangesUnderWay

__all__ = ["Disk"]

T = TypeVar("T")

#: Threads for names. They are made and removed in microseconds, unless the file system's journal is busy.
NAME_THREADS = 4

#: Threads for what looks at all files of a directory: more would only take turns on the interpreter.
SCAN_THREADS = 2

#: Threads, at most, that help with one call of `spread`.
SPREAD_THREADS = 8


class Disk:
    """Descriptors of the directories, and the threads that may wait for them."""

    def __init__(self, root: int, staging: int, threads: int, min_free_files: int = 0) -> None:
        self.root = root
        self.staging = staging
        self.min_free_files = min_free_files
        self._former: list[int] = []  # descriptors of staging directories that were removed by hand
        #: Publications and deletions that are under way.
        self.changes = ChangesUnderWay()
        self.page_cache = PageCacheCongestion()
        self.direct_writes = DirectWriteCongestion()
        #: True if files here can have the extended attribute that names their owner. Found out when the storage starts.
        self.can_record_owners = False
        #: True if a file can be made here without a name, and be given one later.
        self.can_link_unnamed = False
        self._threads = ThreadPoolExecutor(threads, "headgate-storage")
        # Apart: a terminate waits for a name to go, and all other threads may be waiting for the disk.
        self._names = ThreadPoolExecutor(NAME_THREADS, "headgate-names")
        # Apart: a sync may take seconds, and so may a wait for the root's lock; the bytes of others do not wait for
        # them.
        self._syncs = ThreadPoolExecutor(threads, "headgate-syncs")
        self._scans = ThreadPoolExecutor(SCAN_THREADS, "headgate-scans")
        # Apart, and one thread: freeing gigabytes keeps a processor busy for long, and no caller waits for it.
        self._freeing = ThreadPoolExecutor(1, "headgate-freeing")

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Call `function`, which may wait for data, in a thread. If the future is cancelled, the thread goes on."""
        return self._call(self._threads, function)

    def run_names(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """The same for a `function` that makes or removes names, and waits neither for a sync nor for a lock."""
        return self._call(self._names, function)

    def run_sync(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """The same for a `function` that waits for a sync, or for the root's lock."""
        return self._call(self._syncs, function)

    def run_scan(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """The same for a `function` that looks at all files of a directory."""
        return self._call(self._scans, function)

    def spread(self, function: Callable[[T], object], things: Iterable[T]) -> None:
        """Call `function`, which does not raise, with each of `things`: in this thread, one of ours, and in others that
        are free. Blocks until all is done."""
        left = deque(things)

        def work() -> None:
            with suppress(IndexError):
                while True:
                    function(left.popleft())

        helpers = []
        with suppress(RuntimeError):  # the threads have been told to end, or there are as many as may be
            helpers = [self._syncs.submit(work) for _ in range(min(len(left), SPREAD_THREADS))]
        work()
        wait([helper for helper in helpers if not helper.cancel()])

    @staticmethod
    def _call(threads: ThreadPoolExecutor, function: Callable[[], T]) -> "asyncio.Future[T]":
        try:
            return asyncio.get_running_loop().run_in_executor(threads, function)
        except RuntimeError:  # `close` was called: the caller held the shutdown up for too long
            raise StorageFailed from None

    def later(self, function: Callable[[], object]) -> None:
        """Call `function` in a thread, some time; `close` waits for it."""
        self._submit(self._threads, function)

    def free_later(self, fd: int) -> None:
        """Close `fd`, whose file has no name any more, one after the other: that frees its blocks."""
        self._submit(self._freeing, lambda: os.close(fd))

    @staticmethod
    def _submit(threads: ThreadPoolExecutor, function: Callable[[], object]) -> None:
        try:
            threads.submit(function)
        except RuntimeError:  # the threads have been told to end: no transfer is left that this could hold up
            function()

    @contextmanager
    def root_lock(self) -> Iterator[None]:
        """Hold the root's lock, under which published names are replaced and removed. Blocks.

        One thread of one process holds it at a time: a lock of flock(2) belongs to the descriptor that took it.
        """
        self.check_staging()
        lock = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.staging)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            with suppress(OSError):  # it is closed even then, and what was done under it is done
                os.close(lock)

    async def free(self) -> int:
        """Bytes that this process may still write; none where the file system can take no more files."""
        with translate_os_errors():
            status = await self.run_names(lambda: os.statvfs(self.root))
        if getattr(status, "f_files", 0) and status.f_favail < self.min_free_files:  # where they are counted
            return 0
        return status.f_bavail * status.f_frsize

    def check_staging(self) -> None:
        """Make the staging directory again if it was removed by hand. Raises OSError. Blocks."""
        if os.fstat(self.staging).st_nlink:
            return
        with suppress(FileExistsError):
            os.mkdir(STAGING, 0o700, dir_fd=self.root)
        self._former.append(self.staging)  # a thread may be using it
        self.staging = open_staging(self.root)

    def close(self) -> None:
        """Wait for the threads, then close the directories. Their descriptors become -1, so that a late call fails and
        does not meet another file under the same number."""
        for threads in (self._names, self._syncs, self._scans, self._threads, self._freeing):
            threads.shutdown(wait=True)
        self.page_cache.close()
        for directory in (*self._former, self.staging, self.root):
            with suppress(OSError):
                os.close(directory)
        self.root = self.staging = -1
