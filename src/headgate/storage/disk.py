"""The ground that a local storage stands on: two directories, some threads, and the place where OSError is mapped."""

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

from headgate.errors import Busy, StorageFailed, StorageFull

__all__ = ["Disk", "Pace", "mapped"]

T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BUSY = frozenset({errno.EMFILE, errno.ENFILE})

#: Threads for names. They are made and removed in microseconds, unless the file system's journal is busy.
NAME_THREADS = 4


@contextmanager
def mapped() -> Iterator[None]:
    """Turn what the operating system raises into what the contract names. The original stays as the cause."""
    try:
        yield
    except OSError as error:
        if error.errno in _BUSY:
            raise Busy("The server has no descriptor left for another file.") from error
        raise (StorageFull if error.errno in _FULL else StorageFailed) from error


class Pace:
    """Is the disk fast enough to be written to in the loop?

    All files of a disk share one: when the page cache no longer absorbs what is written, the kernel makes every writer
    wait, and one file's wait is warning enough for all. How long the warning holds doubles each time that the first
    write after it is slow again.
    """

    __slots__ = ("_hold", "slow_until")

    #: Seconds that a write may take in the loop. The page cache absorbs 256 KiB in a tenth of it.
    SLOW = 0.005
    #: Seconds for which a warning holds: at least this, for the kernel's own accounting of dirty pages turns as fast...
    SHORTEST = 1.0
    #: ...and at most this, so that a disk that was swamped for an hour is trusted again soon after.
    LONGEST = 60.0

    def __init__(self) -> None:
        self.slow_until = 0.0  #: on the clock of ``time.perf_counter()``
        self._hold = self.SHORTEST

    def wrote(self, began: float, ended: float) -> None:
        """A write took this long. Called from any thread; the worst that a race does is a warning more or less."""
        if ended - began < self.SLOW:
            return
        if began < self.slow_until:  # it was slow and still is
            self.slow_until = max(self.slow_until, ended + self._hold)
            return
        calm = began - self.slow_until > self.LONGEST
        self._hold = self.SHORTEST if calm else min(2 * self._hold, self.LONGEST)
        self.slow_until = ended + self._hold


class Disk:
    """Descriptors of the directories, and the threads that may wait for them."""

    def __init__(self, root: int, staging: int, threads: int) -> None:
        self.root = root
        self.staging = staging
        self.pace = Pace()
        #: Can a file's owner be written down here? Whoever opens the directories finds out.
        self.knows_owners = False
        self._threads = ThreadPoolExecutor(threads, "headgate-storage")
        # Apart, because whoever terminates waits for a name to go, and all other threads may be waiting for the disk.
        self._names = ThreadPoolExecutor(NAME_THREADS, "headgate-names")

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Call `function`, which may wait for data, in a thread. If the future is cancelled, the thread goes on."""
        return self._call(self._threads, function)

    def run_names(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """The same for a `function` that makes or removes names."""
        return self._call(self._names, function)

    @staticmethod
    def _call(threads: ThreadPoolExecutor, function: Callable[[], T]) -> "asyncio.Future[T]":
        try:
            return asyncio.get_running_loop().run_in_executor(threads, function)
        except RuntimeError:  # `close` was called: whoever still wants something held the shutdown up for too long
            raise StorageFailed from None

    def later(self, function: Callable[[], object]) -> None:
        """Call `function` in a thread, some time; `close` waits for it."""
        try:
            self._threads.submit(function)
        except RuntimeError:  # the threads have been told to end; nobody is left to be held up
            function()

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Hold the root's lock: whoever replaces or removes a published name does so under it. Blocks.

        Held by one at a time, over threads and over processes: flock's locks belong to the descriptor that took them.
        """
        lock = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.staging)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    async def free(self) -> int:
        """Bytes that this process may still write."""
        with mapped():
            status = await self.run_names(lambda: os.statvfs(self.root))
        return status.f_bavail * status.f_frsize

    def close(self) -> None:
        """Wait for the threads, then let go of the directories: what comes later fails, and meets no other's."""
        self._names.shutdown(wait=True)
        self._threads.shutdown(wait=True)
        for directory in (self.staging, self.root):
            with suppress(OSError):
                os.close(directory)
        self.root = self.staging = -1
