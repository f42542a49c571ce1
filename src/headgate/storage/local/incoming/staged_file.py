"""One staged file on the disk: a name in the staging directory, a lock that says that its writer lives, and its bytes.

Small writes are made on the loop while the page cache absorbs them, and by threads when it does not. Large ones that
are aligned go past the page cache (O_DIRECT), in a thread, while the next chunk is received.

Rules of this file:

- A staged file is live while its writer holds the lock on it (flock: the kernel drops it with the process). A file that
  is not locked may be removed, however young it is.
- A descriptor is closed only when no thread uses it any more, also where the task that asked was cancelled.
- A byte is written only after it was promised.
"""

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from headgate.lowlevel.page_memory import PAGE, Data, fits
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import close_quietly, unlink
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.quota import Account

__all__ = ["LocalStagedFile", "create_locked", "lock"]

#: What copy_file_range answers where it cannot be had.
_NO_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})

#: What O_DIRECT answers where it cannot be had.
_NO_DIRECT = frozenset({errno.EINVAL, errno.EOPNOTSUPP})

#: Bytes from which on a write goes past the page cache: a thread has to do it, which costs too much for fewer.
DIRECT_WRITE_BYTES = 1024 * 1024

T = TypeVar("T")


def lock(fd: int) -> None:
    """Lock the open file `fd`. Raises BlockingIOError if another descriptor has it locked."""
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def create_locked(label: str, directory: int) -> int:
    """Create the file `label` in `directory` and lock it; return its descriptor. Raises OSError. Blocks."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        fd = os.open(label, flags, 0o666, dir_fd=directory)
        try:
            # A sweeper may have found the file before its lock. The writer waits until the sweeper is done, and never
            # removes the name itself: the sweeper, which removes by name, would take the next file for this one.
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return fd
        except BaseException:
            os.close(fd)
            unlink(label, directory)
            raise
        os.close(fd)


class LocalStagedFile:
    """One staged file, under a name of its own in the staging directory.

    `fd` is open and locked. `promise` sees to it that the next so many bytes may be written.
    """

    __slots__ = (
        *("_account", "_busy", "_disk", "_durable", "_fd", "_promise", "_direct_write"),
        *("inode", "label", "name", "size"),
    )

    def __init__(
        self, disk: Disk, account: Account, promise: Callable[[int], Awaitable[None]], fd: int, label: str, name: str
    ) -> None:
        self._disk = disk
        self._account = account
        self._promise = promise
        self._fd = fd
        self._busy: asyncio.Future[Any] | None = None
        self._durable = -1  # bytes that are known to be durable; -1: none
        self._direct_write: asyncio.Future[None] | None = None  # under way
        self.inode = os.fstat(fd).st_ino
        self.label = label  #: its name in the staging directory
        self.name = name
        self.size = 0

    async def write(self, data: Data) -> None:
        account, size = self._account, len(data)
        if account.written + size > account.reserved:
            await self._promise(size)
        if self._direct_write is not None:
            await self.flush()
        if size >= DIRECT_WRITE_BYTES and self._disk.direct_writes.is_fast() and fits(data, at := self.size):
            self._direct_write = self._begin(lambda: self._write_direct(data, at))
        # Inline while the page cache absorbs it: a thread costs half as much again.
        elif self._disk.page_cache.is_fast():
            self._write(data)
        else:
            await self.run(lambda: self._write(data))
        account.written += size
        self.size += size

    async def flush(self) -> None:
        """Return when the disk has taken what was written from the caller's memory."""
        under_way = self._direct_write
        if under_way is not None:
            try:
                await asyncio.shield(under_way)  # an error stays, so that nothing is written after the gap
                if self._direct_write is under_way:
                    self._direct_write = None
            finally:
                del under_way  # its exception refers to this frame

    def _write(self, data: Data) -> None:
        began = time.perf_counter()
        with translate_os_errors():
            self._write_all(data)
        self._disk.page_cache.wrote(began, time.perf_counter())

    def _write_all(self, data: Data) -> None:
        written = os.write(self._fd, data)
        if written < len(data):  # a nearly full disk takes a part, and then says so
            rest = memoryview(data)
            while written < len(rest):
                written += os.write(self._fd, rest[written:])

    def _write_direct(self, data: Data, at: int) -> None:
        """Write `data` at `at`: all whole pages past the page cache. Blocks."""
        began = time.perf_counter()
        first = -at % PAGE
        end = first + (len(data) - first) // PAGE * PAGE
        with translate_os_errors():
            if first:
                self._write_all(data[:first])
            end = first + self._write_pages(data[first:end])
            if end < len(data):
                self._write_all(data[end:])
        self._disk.direct_writes.wrote(began, time.perf_counter())

    def _write_pages(self, pages: Data) -> int:
        """Write as many of `pages` directly as can be; return how many bytes."""
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETFL, flags | os.O_DIRECT)
            try:
                return os.write(self._fd, pages)
            finally:
                fcntl.fcntl(self._fd, fcntl.F_SETFL, flags)
        except OSError as error:
            if error.errno not in _NO_DIRECT:
                raise
            self._disk.direct_writes.never()
            return 0

    async def sync(self) -> None:
        """Make every byte written so far durable."""
        await self.flush()
        size = self.size
        await asyncio.shield(self._begin(self._sync, self._disk.run_sync))
        self._durable = size

    def _sync(self) -> None:
        with translate_os_errors():
            os.fsync(self._fd)

    def copy(self, source: int, offset: int, most: int) -> int:
        """Append up to `most` bytes of the file `source` from `offset` on, within the kernel; return how many.

        Blocks.
        """
        with translate_os_errors():
            try:
                copied = os.copy_file_range(source, self._fd, most, offset)
            except OSError as error:
                if error.errno not in _NO_COPY:
                    raise
                copied = os.sendfile(self._fd, source, offset, most)
        self.size += copied
        return copied

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer only at the end. Blocks."""
        with translate_os_errors():
            return os.pread(self._fd, size, offset)

    def truncate(self, size: int) -> None:
        """Drop what comes after `size` bytes. Blocks."""
        with translate_os_errors():
            os.ftruncate(self._fd, size)
            os.lseek(self._fd, 0, os.SEEK_END)
        self.size = size

    def status(self) -> os.stat_result:
        """The file's status."""
        return os.fstat(self._fd)

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function`, which uses the descriptor, in a thread."""
        await self.flush()
        return await asyncio.shield(self._begin(function))

    def _begin(
        self, function: Callable[[], T], run: "Callable[[Callable[[], T]], asyncio.Future[T]] | None" = None
    ) -> "asyncio.Future[T]":
        future = (run or self._disk.run)(function)
        if self._busy is None or self._busy.done():
            self._busy = future
        else:  # a sync goes on while more is written
            self._busy = asyncio.gather(self._busy, future, return_exceptions=True)
        return future

    async def wait_idle(self) -> None:
        """Wait until no thread uses the descriptor any more, and set `size` to what the file has."""
        if self._busy is not None:
            await asyncio.wait([self._busy])
            self._busy.exception()  # retrieved, so that asyncio does not log it: the caller was cancelled
        self._busy = self._direct_write = (
            None  # its error has been raised, or no caller is left; and its frames refer to this file
        )
        with suppress(OSError):  # of an open file, it does not fail; and a write that failed may have written some
            self.size = os.lseek(self._fd, 0, os.SEEK_END)

    async def close(self) -> os.stat_result:
        """Close a file that stays under its name; return its last status."""
        await self.wait_idle()
        fd, self._fd = self._fd, -1

        def fstat_and_close() -> os.stat_result:
            try:
                with translate_os_errors():
                    return os.fstat(fd)
            finally:
                close_quietly(fd)

        return await self._disk.run_names(fstat_and_close)

    # For its publication, in a thread.

    def secure(self) -> None:
        """Make the bytes durable; mostly they are, since they were synced while that could still be cancelled. Raises
        StorageFailed. Blocks."""
        if self._durable != self.size:
            self._sync()

    def link(self, name: str, directory: int) -> None:
        """Give the file `name` in `directory`, too. Raises OSError. Blocks."""
        os.link(self.label, name, src_dir_fd=self._disk.staging, dst_dir_fd=directory, follow_symlinks=False)

    def finish(self) -> None:
        """Remove the staged name of the published file, and close it, which ends the lock, too. Never raises.
        Blocks."""
        unlink(self.label, self._disk.staging)
        fd, self._fd = self._fd, -1
        close_quietly(fd)

    def discard(self) -> None:
        """Close a file whose name is gone, when no thread uses the descriptor any more; its blocks are freed later."""
        fd, self._fd = self._fd, -1
        busy, self._busy, self._direct_write = self._busy, None, None
        if busy is None:
            self._disk.free_later(fd)
        else:
            busy.add_done_callback(lambda future: self._free_after(future, fd))

    def _free_after(self, future: "asyncio.Future[Any]", fd: int) -> None:
        future.exception()  # retrieved, so that asyncio does not log it: no caller waits for it any more
        self._disk.free_later(fd)
