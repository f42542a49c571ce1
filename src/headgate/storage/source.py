"""A published file, open for reading."""

import asyncio
import errno
import os
import stat
from types import TracebackType
from typing import BinaryIO, Self

from headgate.errors import FileNotFound
from headgate.storage.disk import Disk, mapped

__all__ = ["LocalSource", "open_source"]

#: What opening a name that is not a readable regular file may raise: absent, a symlink, a socket.
_NO_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})


def open_source(disk: Disk, name: str) -> "LocalSource":
    """Open the published file `name`. Raises FileNotFound, StorageFailed or Busy. Blocks."""
    # O_NONBLOCK: opening a FIFO that somebody put here must not wait for its writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with mapped():
        try:
            fd = os.open(name, flags, dir_fd=disk.root)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise FileNotFound(f"There is no file called {name!r}.") from None
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFound(f"There is no file called {name!r}.")
            return LocalSource(disk, os.fdopen(fd, "rb", buffering=0), status.st_size)
        except BaseException:
            os.close(fd)
            raise


class LocalSource:
    """An open `file` of `size` bytes."""

    def __init__(self, disk: Disk, file: BinaryIO, size: int) -> None:
        self._disk = disk
        self._reading: asyncio.Future[bytes] | None = None
        self.file = file
        self.size = size

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._reading is None or self._reading.done():
            self._disk.later(self.file.close)
        else:
            self._reading.add_done_callback(lambda _: self._disk.later(self.file.close))

    async def read(self, offset: int, size: int) -> bytes:
        self._reading = self._disk.run(lambda: self._read(offset, size))
        return await asyncio.shield(self._reading)

    def _read(self, offset: int, size: int) -> bytes:
        with mapped():
            return os.pread(self.file.fileno(), size, offset)
