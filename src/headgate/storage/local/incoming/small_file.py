"""A small staged file: kept in memory until it is whole, and created only when it is published.

It is created without a name (O_TMPFILE) and linked to its published one, so that nothing is left of it however the
process ends. Only where it replaces another file it has a staged name for that moment. Many of them share one turn of a
thread and one sync of the directory (`GroupCommit`).
"""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

from headgate.lowlevel.page_memory import Data
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import close_quietly, unlink
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.published.usage import record_owner
from headgate.storage.quota import Account

__all__ = ["SMALL_FILE_BYTES", "LocalSmallFile", "can_link_unnamed"]

#: Bytes that the files of an upload may have together to be kept in memory: about what a connection's own buffers take.
SMALL_FILE_BYTES = 32 * 1024

_UNNAMED = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC


class LocalSmallFile:
    """One file of a stage for small files. `label`: its staged name, if it needs one."""

    __slots__ = (
        *("_account", "_busy", "_data", "_disk", "_durable", "_fd", "_has_label", "_owner", "_promise", "_status"),
        *("inode", "label", "name", "size"),
    )

    def __init__(
        self, disk: Disk, account: Account, promise: Callable[[int], Awaitable[None]], owner: str, label: str, name: str
    ) -> None:
        self._disk = disk
        self._account = account
        self._promise = promise
        self._owner = owner
        self._data = bytearray()
        self._fd = -1  # before it is created
        self._busy: asyncio.Future[None] | None = None
        self._durable = self._has_label = False
        self.inode = 0
        self.label = label
        self.name = name
        self.size = 0

    async def write(self, data: Data) -> None:
        account, size = self._account, len(data)
        if account.buffered + size > account.reserved:
            await self._promise(size)
        self._data += data
        account.buffered += size
        self.size += size

    async def flush(self) -> None:
        """Return at once: `write` has copied the bytes."""

    async def sync(self) -> None:
        """Create the file and make it durable, before it is published."""
        self._busy = self._disk.run_sync(self._create_durably)
        await asyncio.shield(self._busy)

    def _create_durably(self) -> None:
        with translate_os_errors():
            self.create()
            self.secure()

    # For its publication, in a thread. All of these block, and raise OSError unless they say otherwise.

    def create(self) -> None:
        """Create the file, write its bytes, and have the disk begin to take them."""
        if self._fd >= 0:
            return
        self._disk.check_staging()
        self._fd = os.open(".", _UNNAMED, 0o666, dir_fd=self._disk.staging)
        if self._disk.can_record_owners:
            record_owner(self._fd, self._owner)
        left = memoryview(self._data)
        while left:  # a nearly full disk takes a part, and then says so
            left = left[os.write(self._fd, left) :]
        self._status = os.fstat(self._fd)
        self.inode = self._status.st_ino
        with suppress(OSError):  # the disk begins with it at once, so that it has those of many together
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def secure(self) -> None:
        """Make the bytes durable."""
        if not self._durable:
            os.fsync(self._fd)
            self._durable = True

    def status(self) -> os.stat_result:
        """The file's status when it was whole."""
        return self._status

    def link(self, name: str, directory: int) -> None:
        """Give the file `name` in `directory`."""
        os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=directory, follow_symlinks=True)

    def add_label(self) -> None:
        """Give the file its staged name, and the lock that tells the sweeper that its writer lives."""
        if not self._has_label:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.link(self.label, self._disk.staging)
            self._has_label = True

    def remove_label(self) -> None:
        """Take the staged name away again, if the file has it. Never raises."""
        if self._has_label:
            self._has_label = False
            unlink(self.label, self._disk.staging)

    def finish(self) -> None:
        """Close the published file. Never raises."""
        self.remove_label()
        fd, self._fd = self._fd, -1
        close_quietly(fd)

    # On the loop.

    def discard(self) -> None:
        """Let go of a file that is not published: its blocks are freed later, by another thread."""
        busy, self._busy = self._busy, None
        if busy is None:
            self._free()
        else:
            busy.add_done_callback(self._free_after)

    def _free_after(self, busy: "asyncio.Future[None]") -> None:
        busy.exception()  # retrieved, so that asyncio does not log it: no caller waits for it any more
        self._free()

    def _free(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._disk.free_later(fd)


def can_link_unnamed(name: str, staging: int) -> bool:
    """Return whether a file can be created in the directory `staging` without a name and be given one afterwards; tries
    it with `name`. Blocks."""
    try:
        fd = os.open(".", _UNNAMED, 0o600, dir_fd=staging)
    except OSError:
        return False
    try:
        os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=staging, follow_symlinks=True)
        os.unlink(name, dir_fd=staging)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
