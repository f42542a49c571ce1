"""Locks of resumable uploads between the processes that share a root: flock(2) on the file of the upload's bytes.

Implements the contract ``headgate.cluster.upload_locks.UploadLockManager``. The kernel gives a lock back when its
process ends, however that happens. The sweeper respects it, too.

Rules of this file:

- A lock is of the file that has the upload's name now. If the file was published or removed before it was locked, the
  upload is gone.
- A holder in this process is asked to let go; flock has no way to ask another process.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from headgate.errors import UploadGone, UploadLocked
from headgate.lowlevel.cancellation import uninterrupted
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import close_quietly, open_own, stat_or_none
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.incoming.staged_file import lock
from headgate.storage.local.partial.stored_record import SUFFIX

__all__ = ["FileLock", "FileLockManager"]

#: Seconds between two tries to get a lock, and how many tries: a sweeper has it for a moment now and then.
RETRY_SECONDS = 0.02
MAX_TRIES = 25


class FileLockManager:
    """The locks of the uploads in one root. `disk` returns the disk of the storage, which was started."""

    def __init__(self, disk: Callable[[], Disk]) -> None:
        self._disk = disk
        self._holders: dict[UUID, Callable[[], object]] = {}  # in this process: how each is asked to let go

    async def acquire(
        self,
        id: UUID,  # noqa: A002 - what it is
        *,
        on_requested: Callable[[], object],
    ) -> "FileLock":
        """Lock the upload `id`. Raises UploadLocked, UploadGone, StorageFailed. A cancellation is delivered at the
        caller's next ``await``, or nothing is locked."""
        disk, label = self._disk(), f"{id}{SUFFIX}"
        for _ in range(MAX_TRIES):
            with suppress(UploadLocked):
                fd = await uninterrupted(disk.run_names(lambda: _lock(disk, label)))
                self._holders[id] = on_requested
                return FileLock(disk, fd, lambda: self._holders.pop(id, None))
            if id in self._holders:
                self._holders[id]()
            await asyncio.sleep(RETRY_SECONDS)
        raise UploadLocked


class FileLock:
    """The lock of one upload, held by its caller. `on_release`: is called once it is released."""

    def __init__(self, disk: Disk, fd: int, on_release: Callable[[], object]) -> None:
        self._disk = disk
        self._fd = fd
        self._on_release = on_release

    async def release(self) -> None:
        """Let others have the lock, at once. The descriptor is closed later, since that may free the file's blocks."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._on_release()
            with suppress(OSError):  # then the close unlocks it
                fcntl.flock(fd, fcntl.LOCK_UN)
            self._disk.free_later(fd)


def _lock(disk: Disk, label: str) -> int:
    """Lock the file `label` of the staging directory; return its descriptor. Blocks."""
    with translate_os_errors():
        try:
            fd = open_own(label, os.O_RDONLY, disk.staging)
        except FileNotFoundError:
            raise UploadGone from None
        try:
            lock(fd)
            status = stat_or_none(label, disk.staging)
            if status is None or status.st_ino != os.fstat(fd).st_ino:
                raise UploadGone
        except BlockingIOError:
            close_quietly(fd)
            raise UploadLocked from None
        except BaseException:
            close_quietly(fd)
            raise
        return fd
