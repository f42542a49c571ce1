"""A staged file that is small: held in memory until it is whole, and made only when it is published.

It never has a staged name, unless it replaces another file: until it has its published one, the kernel removes it with
its last descriptor, whatever becomes of the process. So there is nothing to clean up after it, and it takes one turn of
a thread, which many of them share (`commits`).
"""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

from headgate.lowlevel.page_memory import Data
from headgate.storage.local.disk.disk import Disk, close_quietly, mapped, unlink
from headgate.storage.local.published.usage import record_owner
from headgate.storage.quota import Account

__all__ = ["HELD", "LocalSmallFile", "can_be_unnamed"]

#: Bytes that the files of an upload may have together to be held: what a connection's own buffers take, about.
HELD = 32 * 1024

_UNNAMED = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC


class LocalSmallFile:
    """One file of a stage whose files are held. Has the face of LocalStagedFile, as far as a stage has to do with it.

    `label`: what it is called in the staging directory if it has to have a name there.
    """

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
        self._fd = -1  # before it is made
        self._busy: asyncio.Future[None] | None = None
        self._durable = self._has_label = False
        self.inode = 0
        self.label = label
        self.name = name
        self.size = 0

    async def write(self, data: Data) -> None:
        account, size = self._account, len(data)
        if account.held + size > account.reserved:
            await self._promise(size)
        self._data += data
        account.held += size
        self.size += size

    async def flush(self) -> None:
        """Its memory is its own."""

    async def sync(self) -> None:
        """Make it durable, before it is published."""
        self._busy = self._disk.run_sync(self._make_durable)
        await asyncio.shield(self._busy)

    def _make_durable(self) -> None:
        with mapped():
            self.make()
            self.secure()

    # In a thread.

    def make(self) -> None:
        """Write it, and have the disk begin to take it. Raises OSError. Blocks, as all that follow."""
        if self._fd >= 0:
            return
        self._disk.check_staging()
        self._fd = os.open(".", _UNNAMED, 0o666, dir_fd=self._disk.staging)
        if self._disk.knows_owners:
            record_owner(self._fd, self._owner)
        left = memoryview(self._data)
        while left:  # a nearly full disk takes a part, and then says so
            left = left[os.write(self._fd, left) :]
        self._status = os.fstat(self._fd)
        self.inode = self._status.st_ino
        with suppress(OSError):  # the disk begins with it at once, so that it has those of many together
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def secure(self) -> None:
        """Make it durable. Raises OSError."""
        if not self._durable:
            os.fsync(self._fd)
            self._durable = True

    def status(self) -> os.stat_result:
        """What the file system said of it when it was whole."""
        return self._status

    def link(self, name: str, directory: int) -> None:
        """Give it `name`. Raises OSError."""
        os.link(f"/proc/self/fd/{self._fd}", name, dst_dir_fd=directory, follow_symlinks=True)

    def give_label(self) -> None:
        """Give it its staged name, and the lock that says that what is called so is live. Raises OSError."""
        if not self._has_label:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.link(self.label, self._disk.staging)
            self._has_label = True

    def drop_held_label(self) -> None:
        """It needs its staged name no more. Never raises."""
        if self._has_label:
            self._has_label = False
            unlink(self.label, self._disk.staging)

    def finish(self) -> None:
        """It is published. Never raises."""
        self.drop_held_label()
        fd, self._fd = self._fd, -1
        close_quietly(fd)

    # On the loop.

    def discard(self) -> None:
        """It is not wanted any more."""
        busy, self._busy = self._busy, None
        if busy is None:
            self._let_go()
        else:
            busy.add_done_callback(self._abandoned)

    def _abandoned(self, busy: "asyncio.Future[None]") -> None:
        busy.exception()  # looked at, so that asyncio does not log it: nobody asks any more
        self._let_go()

    def _let_go(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._disk.free_later(fd)


def can_be_unnamed(name: str, staging: int) -> bool:
    """Can a file be made in the directory `staging` that has no name, and be called `name` afterwards? Blocks."""
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
