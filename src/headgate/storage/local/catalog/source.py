"""A published file, open for reading: by sendfile, once its pages are in memory, or piece by piece."""

import asyncio
import errno
import os
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

from headgate.errors import FileNotFound, StorageFailed, Unreadable
from headgate.storage.entry import Entry
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import entry_of
from headgate.storage.local.disk.os_errors import translate_os_errors

__all__ = ["LocalSource", "open_published", "open_source"]

T = TypeVar("T")

#: Bytes that a thread reads at once, to have them in the page cache or to hand them on.
FETCH_BYTES = 256 * 1024

#: Bytes of a read up to which the loop looks for them in the page cache itself: copying them takes less time than a
#: turn of a thread.
MAX_CACHED_READ_BYTES = 256 * 1024

#: Bytes that the kernel is asked to bring in beyond those, so that the disk works while the client takes them.
READ_AHEAD_BYTES = 4 * 1024 * 1024

#: Bytes from one that is looked for in the page cache to the next: fewer than are read ahead or dropped at once.
PROBE_STEP_BYTES = 1024 * 1024

#: What opening a name that is not a readable regular file may raise: absent, a symlink, a socket.
_NO_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})


def open_published(disk: Disk, name: str, *, may_be_unreadable: bool = False) -> tuple[int, os.stat_result]:
    """A descriptor of the published file `name`, and its status. Raises FileNotFound, Unreadable or OSError. Blocks.

    `may_be_unreadable`: if so, the descriptor is one that only says which file it is.
    """
    # O_NONBLOCK: opening a FIFO that was put here by hand must not wait for its writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        try:
            fd = os.open(name, flags, dir_fd=disk.root)
        except PermissionError:
            if not may_be_unreadable:
                raise Unreadable from None
            fd = os.open(name, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=disk.root)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise FileNotFound(f"There is no file called {name!r}.") from None
        raise
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFound(f"There is no file called {name!r}.")
    except BaseException:
        os.close(fd)
        raise
    return fd, status


def open_source(disk: Disk, name: str) -> "LocalSource":
    """Open the published file `name`. Raises FileNotFound, Unreadable, StorageFailed or Busy. Blocks."""
    with translate_os_errors():
        fd, status = open_published(disk, name)
        return LocalSource(disk, os.fdopen(fd, "rb", buffering=0), entry_of(name, status))


class LocalSource:
    """A published file, open: `file`, as `entry` says. See ``storage.contract.Source``."""

    def __init__(self, disk: Disk, file: BinaryIO, entry: Entry) -> None:
        self._disk = disk
        self._reading: asyncio.Future[Any] | None = None
        self._was_cached = False  # the page cache had what was read last
        self.file = file
        self.entry = entry
        self.size = entry.size

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.add_done_callback(lambda _: self._disk.later(self.file.close))
        # Closing takes no time where the file keeps its name and the page cache answers. Else it may wait: for another
        # machine, or until the blocks of a file that was removed are free.
        elif self._was_cached and self._has_name():
            with suppress(OSError):  # it is closed even then
                self.file.close()
        else:
            self._disk.later(self.file.close)

    def _has_name(self) -> bool:
        try:
            return os.fstat(self.file.fileno()).st_nlink > 0
        except OSError:
            return False

    async def ready(self, offset: int, size: int) -> None:
        if not self._is_cached(offset, size):
            await self._run(lambda: self._fetch(offset, size))

    def _is_cached(self, offset: int, size: int) -> bool:
        """Are these bytes in the page cache, as far as some of them tell? It is read ahead and dropped in long runs."""
        byte = [bytearray(1)]
        try:
            for place in (*range(offset, offset + size, PROBE_STEP_BYTES), offset + size - 1):
                os.preadv(self.file.fileno(), byte, place, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:  # not offered here (tmpfs has nothing to wait for), or an error that sending will meet, too
            return True
        return True

    def _fetch(self, offset: int, size: int) -> None:
        with translate_os_errors():
            for place in range(offset, offset + size, FETCH_BYTES):
                os.pread(self.file.fileno(), min(FETCH_BYTES, offset + size - place), place)
            os.posix_fadvise(self.file.fileno(), offset + size, READ_AHEAD_BYTES, os.POSIX_FADV_WILLNEED)

    async def read(self, offset: int, size: int) -> bytes:
        data = self._read_cached(offset, size)
        return data if data is not None else await self._run(lambda: self._read(offset, size))

    def _read_cached(self, offset: int, size: int) -> bytes | None:
        """These bytes, if all of them are in the page cache, few, and before the end of the file."""
        if size > MAX_CACHED_READ_BYTES:
            return None
        data = bytearray(size)
        try:
            self._was_cached = os.preadv(self.file.fileno(), [data], offset, os.RWF_NOWAIT) == size
        except OSError:  # they are not there, or this is not offered here
            self._was_cached = False
        return bytes(data) if self._was_cached else None

    async def stream(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            data = await self.read(start, min(FETCH_BYTES, end - start))
            if not data:
                raise StorageFailed("The file has become shorter while it was read.")
            start += len(data)
            yield data

    async def _run(self, function: Callable[[], T]) -> T:
        """Call `function`, which uses the descriptor, in a thread."""
        future = self._disk.run(function)
        self._reading = future
        return await asyncio.shield(future)

    def _read(self, offset: int, size: int) -> bytes:
        with translate_os_errors():
            return os.pread(self.file.fileno(), size, offset)
