"""The ground that a local storage stands on: two directories, some threads, and the place where OSError is mapped."""

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from headgate.errors import StorageFailed, StorageFull

__all__ = ["Disk", "mapped"]

T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def mapped() -> Iterator[None]:
    """Turn what the operating system raises into what the contract names. The original stays as the cause."""
    try:
        yield
    except OSError as error:
        raise (StorageFull if error.errno in _FULL else StorageFailed) from error


class Disk:
    """Descriptors of the directories, and the threads that may wait for them."""

    def __init__(self, root: int, staging: int, threads: int) -> None:
        self.root = root
        self.staging = staging
        self._threads = ThreadPoolExecutor(threads, "headgate-storage")

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Call `function` in a thread. The future may be cancelled; the thread then goes on to its end."""
        try:
            return asyncio.get_running_loop().run_in_executor(self._threads, function)
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

    def close(self) -> None:
        """Wait for the threads, then let go of the directories: what comes later fails, and meets no other's."""
        self._threads.shutdown(wait=True)
        os.close(self.staging)
        os.close(self.root)
        self.root = self.staging = -1
