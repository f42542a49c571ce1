"""The ground that a local storage stands on: two directories, some threads, and the place where OSError is mapped."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Disk:
    """Descriptors of the directories, and the threads that may wait for them."""

    root: int
    staging: int
    threads: ThreadPoolExecutor

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """Call `function` in a thread. The future may be cancelled; the thread then goes on to its end."""
        return asyncio.get_running_loop().run_in_executor(self.threads, function)

    def later(self, function: Callable[[], object]) -> None:
        """Call `function` in a thread, some time; `close` waits for it."""
        try:
            self.threads.submit(function)
        except RuntimeError:  # the threads have been told to end; nobody is left to be held up
            function()

    def close(self) -> None:
        """Wait for the threads, then let go of the directories."""
        self.threads.shutdown(wait=True)
        os.close(self.staging)
        os.close(self.root)
