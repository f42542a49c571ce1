"""Files in a directory of this machine.

Published files lie in ``root`` under their names, staged ones in ``root/.staging``, on the same file system. Publishing
is fsync(file), then a hard link (which refuses a taken name) or a rename, then fsync(directory): a name is there only
when every byte is, and an answer is given only when both would survive a power cut.

Rules of these rooms (local, staging, disk):

- Everything is relative to two directory descriptors, opened once. No path is ever joined, no symlink in the root
  followed.
- What may block goes to the storage's own threads, with two exceptions: removing a name (instant: the blocks are freed
  at the last close, which does go to a thread), and writes while they are fast.
- OSError does not leave these rooms.
"""

import asyncio
import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from uuid import UUID, uuid4

from headgate.aio import uninterrupted
from headgate.errors import FileNotFound, StorageFailed, StorageUnusable
from headgate.storage.disk import Disk, mapped
from headgate.storage.staging import LocalStage

__all__ = ["LocalStorage"]

STAGING = ".staging"


class LocalStorage:
    """A Storage over the directory `root`. `threads`: how many disk calls may wait at once."""

    def __init__(self, root: Path, *, threads: int = 16) -> None:
        self._root = root
        self._threads = threads
        self._started: Disk | None = None
        self._open_stages: set[LocalStage] = set()

    @property
    def _disk(self) -> Disk:
        assert self._started is not None, "start() comes first"
        return self._started

    async def start(self) -> None:
        self._started = await asyncio.to_thread(self._start)

    async def close(self) -> None:
        for stage in self._open_stages:  # of jobs whose own code held the shutdown up for too long
            stage.discard()
        await asyncio.to_thread(self._disk.close)
        self._started = None

    def stage(self, job: UUID) -> LocalStage:
        return LocalStage(self._disk, job, self._open_stages)

    async def open(self, name: str) -> "LocalSource":
        # Uninterrupted: what a thread opens for a caller that is gone nobody would close.
        return await uninterrupted(self._disk.run(lambda: self._open(name)))

    def _open(self, name: str) -> "LocalSource":
        # O_NONBLOCK: opening a FIFO that somebody put here must not wait for its writer.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(name, flags, dir_fd=self._disk.root)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise FileNotFound(f"There is no file called {name!r}.") from None
            raise StorageFailed from error
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFound(f"There is no file called {name!r}.")
            return LocalSource(self._disk, os.fdopen(fd, "rb", buffering=0), status.st_size)
        except BaseException:
            os.close(fd)
            raise

    def _start(self) -> Disk:
        """Open the directories, and try once everything that a publish needs."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        opened: list[int] = []
        try:
            self._root.mkdir(exist_ok=True)
            opened.append(os.open(self._root, flags))
            with suppress(FileExistsError):
                os.mkdir(STAGING, 0o700, dir_fd=opened[0])
            opened.append(os.open(STAGING, flags | os.O_NOFOLLOW, dir_fd=opened[0]))
            self._probe(*opened)
        except OSError as error:
            for fd in opened:
                os.close(fd)
            reason = os.strerror(error.errno) if error.errno else str(error)
            hint = _HINTS.get(error.errno or 0, "")
            raise StorageUnusable(f"{self._root} cannot hold uploads: {reason}{hint}") from error
        return Disk(opened[0], opened[1], self._threads)

    @staticmethod
    def _probe(root: int, staging: int) -> None:
        label, name = f"probe-{uuid4()}", f".probe-{uuid4()}"
        fd = os.open(label, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=staging)
        try:
            os.write(fd, b"headgate")
            os.fsync(fd)
            os.link(label, name, src_dir_fd=staging, dst_dir_fd=root, follow_symlinks=False)
            os.rename(label, name, src_dir_fd=staging, dst_dir_fd=root)
            os.fsync(root)
        finally:
            os.close(fd)
            for directory, entry in ((staging, label), (root, name)):
                with suppress(FileNotFoundError):
                    os.unlink(entry, dir_fd=directory)


class LocalSource:
    """A published file, open for reading."""

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


#: What opening a name that is not a readable regular file may raise: absent, a symlink, a socket.
_NO_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})

_HINTS = {
    errno.EPERM: " (a file system without hard links cannot refuse a taken name atomically)",
    errno.EOPNOTSUPP: " (a file system without hard links cannot refuse a taken name atomically)",
    errno.ENOSYS: " (a file system without hard links cannot refuse a taken name atomically)",
    errno.EXDEV: f" ({STAGING} must be on the same file system)",
    errno.ENOENT: " (its parent directory must exist)",
    errno.ELOOP: f" ({STAGING} may not be a symbolic link)",
}
