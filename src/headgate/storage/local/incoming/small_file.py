"""A small staged file: kept in memory until it is whole, and created only when it is published.

It is created without a name (O_TMPFILE) and linked to its published one, so that nothing is left of it however the
process ends. Only where it replaces another file it has a staged name for that moment. Many of them share one turn of a
thread and one sync of the directory (`GroupCommit`).

The file of a client that takes long is created early (`spill`), still without a name: its memory is free then, and what
comes afterwards is written to it at once.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from headgate.lowlevel.page_memory import Data
from headgate.storage.local.catalog.usage import record_owner
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import close_quietly, unlink
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.quota import Account

__all__ = ["SMALL_FILE_BYTES", "LocalSmallFile", "can_link_unnamed"]

#: Bytes that the files of an upload may have together to be kept in memory. Up to here a file costs less so than by a
#: staged name and two more turns of a thread; above, the writing itself costs more than those.
SMALL_FILE_BYTES = 2 * 1024 * 1024

#: The smallest chunk, in bytes, that is kept as it came; smaller ones are gathered, so that there are few.
OWN_CHUNK_BYTES = 32 * 1024

#: Bytes of one write at most, unless one chunk has more. For more at once the kernel takes the largest pages that it
#: has, and a virtual machine has to ask its host for each of those again: 2 MiB in one write cost up to three times as
#: much.
MAX_WRITE_BYTES = 1024 * 1024

_UNNAMED = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC


class LocalSmallFile:
    """One file of a stage for small files. `label`: its staged name, if it needs one."""

    __slots__ = (
        *("_account", "_busy", "_chunks", "_disk", "_durable", "_fd", "_has_label", "_owner", "_promise", "_spilling"),
        *("_status", "inode", "label", "name", "size"),
    )

    def __init__(
        self, disk: Disk, account: Account, promise: Callable[[int], Awaitable[None]], owner: str, label: str, name: str
    ) -> None:
        self._disk = disk
        self._account = account
        self._promise = promise
        self._owner = owner
        self._chunks: list[bytes | bytearray] = []  # what has not been written yet
        self._fd = -1  # before it is created
        self._busy: asyncio.Future[None] | None = None  # a thread uses the file
        self._spilling: asyncio.Future[None] | None = None  # done, or under way
        self._durable = self._has_label = False
        self.inode = 0
        self.label = label
        self.name = name
        self.size = 0

    async def write(self, data: Data) -> None:
        account, size = self._account, len(data)
        if account.buffered + size > account.reserved:
            await self._promise(size)
        if self._spilling is None:
            self._keep(data)
            account.buffered += size
        else:
            await asyncio.shield(self._spilling)
            if self._disk.page_cache.is_fast():
                self._append(data)
            else:
                self._busy = self._disk.run(lambda: self._append(data))
                await asyncio.shield(self._busy)
            account.written += size
        self.size += size

    def _keep(self, data: Data) -> None:
        chunks = self._chunks
        if len(data) >= OWN_CHUNK_BYTES:
            chunks.append(data if isinstance(data, bytes) else bytes(data))  # the memory of a view is used again
        elif chunks and isinstance(chunks[-1], bytearray) and len(chunks[-1]) + len(data) <= MAX_WRITE_BYTES:
            chunks[-1] += data
        else:
            chunks.append(bytearray(data))

    def _append(self, data: Data) -> None:
        began = time.perf_counter()
        with translate_os_errors():
            self._write_all([data])
        self._disk.page_cache.wrote(began, time.perf_counter())

    def spill(self) -> None:
        """Have a thread create the file with what has come. An error is raised by the next `write` or `flush`."""
        if self._spilling is None:
            self._spilling = self._busy = self._disk.run(self._create)
            self._spilling.add_done_callback(self._spilled)

    def _spilled(self, spilling: "asyncio.Future[None]") -> None:
        if not spilling.cancelled() and spilling.exception() is None:
            self._account.wrote(self.size)

    async def flush(self) -> None:
        """Return when no thread spills the file any more: `write` has copied the bytes."""
        if self._spilling is not None:
            await asyncio.shield(self._spilling)

    async def sync(self) -> None:
        """Create the file and make it durable, before it is published."""
        await self.flush()
        self._busy = self._disk.run_sync(self._create_durably)
        await asyncio.shield(self._busy)

    def _create(self) -> None:
        with translate_os_errors():
            self.create()

    def _create_durably(self) -> None:
        self._create()
        with translate_os_errors():
            self.secure()

    # For its publication, in a thread. All of these block, and raise OSError unless they say otherwise.

    def create(self) -> None:
        """Create the file if that was not done, write its bytes, and have the disk begin to take them."""
        if self._fd < 0:
            self._disk.check_staging()
            self._fd = os.open(".", _UNNAMED, 0o666, dir_fd=self._disk.staging)
            if self._disk.can_record_owners:
                record_owner(self._fd, self._owner)
        if self._durable:
            return
        self._write_all(self._chunks)
        self._chunks = []
        self._status = os.fstat(self._fd)
        self.inode = self._status.st_ino
        with suppress(OSError):  # the disk begins with it at once, so that it has those of many together
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def _write_all(self, chunks: Sequence[Data | bytearray]) -> None:
        batch: list[Data | bytearray] = []
        size = 0
        for chunk in chunks:
            if batch and size + len(chunk) > MAX_WRITE_BYTES:
                self._write_batch(batch, size)
                batch, size = [], 0
            batch.append(chunk)
            size += len(chunk)
        if batch:
            self._write_batch(batch, size)

    def _write_batch(self, chunks: Sequence[Data | bytearray], size: int) -> None:
        left = size - os.writev(self._fd, chunks)
        while left:  # a nearly full disk takes a part, and then says so
            left -= os.write(self._fd, memoryview(b"".join(chunks))[-left:])

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
