"""The ground that a local storage stands on: two directories, some threads, and the place where OSError is mapped."""

import asyncio
import errno
import fcntl
import logging
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from types import TracebackType
from typing import TypeVar

from headgate.errors import Busy, StorageFailed, StorageFull
from headgate.storage.entry import Entry
from headgate.storage.local.disk.congestion import DirectWriteCongestion, PageCacheCongestion
from headgate.storage.local.publishing.changes import Changes

__all__ = [
    "STAGING",
    "Disk",
    "close_quietly",
    "entry_of",
    "mapped",
    "open_own",
    "open_staging",
    "sorted_unhurried",
    "unhurried",
    "unlink",
]

logger = logging.getLogger("headgate.storage")

T = TypeVar("T")
Sortable = TypeVar("Sortable", bytes, tuple[int, bytes])

#: The directory below the root in which files are that nobody is to see yet.
STAGING = ".staging"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BUSY = frozenset({errno.EMFILE, errno.ENFILE})

#: How many things a thread looks at before it takes a breath: about a millisecond's work.
AT_A_TIME = 100
#: Seconds of a breath.
BREATH = 0.001

#: Threads for names. They are made and removed in microseconds, unless the file system's journal is busy.
NAME_THREADS = 4

#: Threads for what looks at all files of a directory: more would only take turns on the interpreter.
SCAN_THREADS = 2


#: The times that can be told: years of four digits.
_EARLIEST = datetime(1000, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def entry_of(name: str, status: os.stat_result) -> Entry:
    """The file `name` with `status`, as it is told. Whoever replaces a file makes another inode; whoever writes into
    one by hand changes its time."""
    etag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    seconds = min(max(status.st_mtime, _EARLIEST), _LATEST)  # a file system takes any time
    return Entry(name, status.st_size, datetime.fromtimestamp(seconds, UTC), etag)


class mapped:  # noqa: N801 - what it is called is what a block says that is under it
    """FairSemaphore what the operating system raises into what the contract names. The original stays as the cause."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, OSError):
            if error.errno in _BUSY:
                raise Busy("The server has no descriptor left for another file.") from error
            raise (StorageFull if error.errno in _FULL else StorageFailed) from error


def open_staging(root: int) -> int:
    """A descriptor of the staging directory below `root`. Raises OSError if it is none, or not ours alone: whoever else
    can put something there could have us open it. Blocks."""
    fd = os.open(STAGING, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=root)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.stat("/proc/self").st_uid or status.st_mode & 0o022:
            raise OSError(errno.EPERM, f"{STAGING} in it is another user's, or others may write there")
    except BaseException:
        close_quietly(fd)
        raise
    return fd


def open_own(label: str, flags: int, directory: int) -> int:
    """Open the regular file `label` of the staging directory. What else bears such a name counts as absent; a FIFO is
    not waited for. Raises OSError. Blocks."""
    try:
        fd = os.open(label, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise FileNotFoundError(errno.ENOENT, "not a regular file") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file")
    except BaseException:
        close_quietly(fd)
        raise
    return fd


def close_quietly(fd: int) -> None:
    """Close `fd`, of which nobody needs to know more: it is closed, whatever is said."""
    with suppress(OSError):
        os.close(fd)


def unlink(label: str, directory: int) -> None:
    """Remove a name from the staging directory, if it is there. Never raises."""
    try:
        os.unlink(label, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:  # whoever is leaving has an outcome already; a sweeper will try again
        logger.error("the staged file %s could not be removed: %s", label, error)


def unhurried(things: Iterable[T], at_a_time: int = AT_A_TIME) -> Iterator[T]:
    """`things`, for a thread that has many of them to look at, with a breath after `at_a_time`.

    A thread whose calls are all short keeps the interpreter to itself: the loop would wait for as long as the
    interpreter lets a thread go on (5 ms), each time that it comes back from a call of its own.
    """
    for number, thing in enumerate(things, 1):
        yield thing
        if not number % at_a_time:
            time.sleep(BREATH)


#: Things that are sorted at once: a sort keeps the interpreter to itself, a millisecond for so many.
SORTED_AT_ONCE = 4000


def sorted_unhurried(things: Iterable[Sortable]) -> list[Sortable]:
    """`things` in order, as ``sorted`` has them, for a thread: sorted in runs, which are then merged one by one."""
    runs = []
    left = iter(things)
    while run := sorted(islice(left, SORTED_AT_ONCE)):
        runs.append(run)
        time.sleep(BREATH)
    return list(unhurried(merge(*runs), SORTED_AT_ONCE))


#: Threads that help one whose work is many small things that may wait.
HELPERS = 8


class Disk:
    """Descriptors of the directories, and the threads that may wait for them."""

    def __init__(self, root: int, staging: int, threads: int, min_free_files: int = 0) -> None:
        self.root = root
        self.staging = staging
        self.min_free_files = min_free_files
        self._former: list[int] = []  # staging directories that somebody has removed
        #: Publications and deletions that are under way.
        self.changes = Changes()
        self.pace = PageCacheCongestion()
        self.direct = DirectWriteCongestion()
        #: Can a file's owner be written down here? Whoever opens the directories finds out, also the next.
        self.knows_owners = False
        #: Can a file be made without a name, and be given one?
        self.knows_unnamed = False
        self._threads = ThreadPoolExecutor(threads, "headgate-storage")
        # Apart, because whoever terminates waits for a name to go, and all other threads may be waiting for the disk.
        self._names = ThreadPoolExecutor(NAME_THREADS, "headgate-names")
        # Apart, because a sync may take seconds, and so may a wait for the root's lock: others' bytes are not to.
        self._syncs = ThreadPoolExecutor(threads, "headgate-syncs")
        self._scans = ThreadPoolExecutor(SCAN_THREADS, "headgate-scans")
        # Apart, and one alone: freeing gigabytes keeps a processor busy for long, and nobody waits for it.
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
            helpers = [self._syncs.submit(work) for _ in range(min(len(left), HELPERS))]
        work()
        wait([helper for helper in helpers if not helper.cancel()])

    @staticmethod
    def _call(threads: ThreadPoolExecutor, function: Callable[[], T]) -> "asyncio.Future[T]":
        try:
            return asyncio.get_running_loop().run_in_executor(threads, function)
        except RuntimeError:  # `close` was called: whoever still wants something held the shutdown up for too long
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
        except RuntimeError:  # the threads have been told to end; nobody is left to be held up
            function()

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Hold the root's lock: whoever replaces or removes a published name does so under it. Blocks.

        Held by one at a time, over threads and over processes: flock's locks belong to the descriptor that took them.
        """
        self.check_staging()
        lock = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.staging)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            with suppress(OSError):  # it is closed, whatever is said; what was done under it is done
                os.close(lock)

    async def free(self) -> int:
        """Bytes that this process may still write; none where the file system can take no more files."""
        with mapped():
            status = await self.run_names(lambda: os.statvfs(self.root))
        if getattr(status, "f_files", 0) and status.f_favail < self.min_free_files:  # where they are counted
            return 0
        return status.f_bavail * status.f_frsize

    def check_staging(self) -> None:
        """See to it that the staging directory is one: somebody may have removed it. Raises OSError. Blocks."""
        if os.fstat(self.staging).st_nlink:
            return
        with suppress(FileExistsError):
            os.mkdir(STAGING, 0o700, dir_fd=self.root)
        self._former.append(self.staging)  # a thread may be using it
        self.staging = open_staging(self.root)

    def close(self) -> None:
        """Wait for the threads, then let go of the directories: what comes later fails, and meets no other's."""
        for threads in (self._names, self._syncs, self._scans, self._threads, self._freeing):
            threads.shutdown(wait=True)
        self.pace.close()
        for directory in (*self._former, self.staging, self.root):
            with suppress(OSError):
                os.close(directory)
        self.root = self.staging = -1
