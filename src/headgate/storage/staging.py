"""Staged files of a local storage: written, made durable, published together, or gone.

Rules of this room:

- A staged file's name exists from `create` to the end of its stage, never longer. Discarding removes it inline:
  unlinking a name is instant, and what is slow, freeing the blocks at the last close, goes to a thread.
- A descriptor is closed only when no thread uses it any more, though the task that asked was cancelled.
- Publishing undoes what it did when a later file of the same stage cannot be published, and nothing that others did.
"""

import asyncio
import logging
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from headgate.aio import uninterrupted
from headgate.config import OnConflict
from headgate.errors import NameTaken
from headgate.names import numbered
from headgate.storage.disk import Disk, mapped

__all__ = ["LocalStage", "LocalStaged"]

logger = logging.getLogger("headgate.storage")

T = TypeVar("T")

#: Seconds that an inline write may take. The page cache absorbs 256 KiB in a tenth of it; once the kernel throttles
#: dirty pages a write takes far longer, and the loop must not be the one to wait.
SLOW_WRITE = 0.005


class LocalStaged:
    """One staged file, under a name of its own in the staging directory."""

    __slots__ = ("_busy", "_disk", "_fd", "_inline", "inode", "label", "name", "size")

    def __init__(self, disk: Disk, fd: int, label: str, name: str) -> None:
        self._disk = disk
        self._fd = fd
        self._busy: asyncio.Future[Any] | None = None
        self._inline = True
        self.inode = os.fstat(fd).st_ino
        self.label = label  #: its name in the staging directory
        self.name = name
        self.size = 0

    async def write(self, data: bytes) -> None:
        # Inline while the page cache takes it; in a thread from the first slow write until they are fast again.
        if self._inline:
            elapsed = self._write(data)
        else:
            elapsed = await self.run(lambda: self._write(data))
        self._inline = elapsed < SLOW_WRITE
        self.size += len(data)

    def _write(self, data: bytes) -> float:
        """Write all of `data`; return the seconds it took."""
        began = time.perf_counter()
        with mapped():
            written = os.write(self._fd, data)
            if written < len(data):  # a nearly full disk takes a part, and then says so
                rest = memoryview(data)
                while written < len(rest):
                    written += os.write(self._fd, rest[written:])
        return time.perf_counter() - began

    def sync(self) -> None:
        """Blocks until every byte is durable."""
        with mapped():
            os.fsync(self._fd)

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function`, which uses the descriptor, in a thread."""
        future = self._disk.run(function)
        self._busy = future
        return await asyncio.shield(future)

    def close(self) -> None:
        """Close in a thread, after whatever still uses the descriptor there."""
        fd, self._fd = self._fd, -1
        if self._busy is None or self._busy.done():
            self._disk.later(lambda: os.close(fd))
        else:
            self._busy.add_done_callback(lambda future: self._abandoned(future, fd))

    def _abandoned(self, future: "asyncio.Future[Any]", fd: int) -> None:
        future.exception()  # looked at, so that asyncio does not log it: the file is gone and nobody asks any more
        self._disk.later(lambda: os.close(fd))


@dataclass(slots=True)
class _Placed:
    """A published name and how to take it back."""

    name: str
    #: The file that has the name now; if it has another by the time, the name is no longer ours to take back.
    inode: int
    #: Where the file that it replaced is kept until all are published.
    backup: str | None = None


class LocalStage:
    """The staged files of one job."""

    def __init__(self, disk: Disk, job: UUID, open_stages: "set[LocalStage]") -> None:
        self._disk = disk
        # Not the job's id alone: that may be the client's choice, and another server on this root may know it too.
        self._prefix = f"{job}.{token_hex(4)}"
        self._files: list[LocalStaged] = []
        self._open_stages = open_stages

    async def __aenter__(self) -> Self:
        self._open_stages.add(self)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._open_stages.discard(self)
        self.discard()

    def discard(self) -> None:
        """Remove whatever was not published, at once."""
        for file in self._files:
            self._unlink(file.label)  # which published files have lost already, or have as a second name
            file.close()
        self._files = []

    async def create(self, name: str, on_conflict: OnConflict) -> LocalStaged:
        if on_conflict is not OnConflict.RENAME and any(file.name == name for file in self._files):
            raise NameTaken(f"Two files of this upload are called {name!r}.")
        label = f"{self._prefix}.{len(self._files)}"
        # Uninterrupted: a thread that creates a file for a job that is gone would leave it behind.
        file = await uninterrupted(self._disk.run(lambda: self._create(label, name, on_conflict)))
        self._files.append(file)
        return file

    def _create(self, label: str, name: str, on_conflict: OnConflict) -> LocalStaged:
        with mapped():
            if on_conflict is OnConflict.REJECT and self._status(name) is not None:
                raise NameTaken(f"There is a file called {name!r} already.")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(label, flags, 0o666, dir_fd=self._disk.staging)
        return LocalStaged(self._disk, fd, label, name)

    async def sync(self) -> None:
        for file in self._files:
            await file.run(file.sync)

    async def publish(self, on_conflict: OnConflict) -> list[str]:
        return await uninterrupted(self._disk.run(lambda: self._publish(on_conflict)))

    def _publish(self, on_conflict: OnConflict) -> list[str]:
        placed: list[_Placed] = []
        with mapped():
            try:
                for file in self._files:
                    # PERF401: what was placed before one failed must be known.
                    placed.append(self._place(file, on_conflict))  # noqa: PERF401
                os.fsync(self._disk.root)
            except BaseException:
                self._take_back(placed)
                raise
        for one in placed:
            if one.backup is not None:
                self._unlink(one.backup)
        return [one.name for one in placed]

    def _place(self, file: LocalStaged, on_conflict: OnConflict) -> _Placed:
        if on_conflict is OnConflict.REPLACE:
            return self._replace(file)
        name, number = file.name, 0
        while True:
            try:
                self._link(file.label, self._disk.staging, name, self._disk.root)
            except FileExistsError:
                if on_conflict is OnConflict.REJECT:
                    raise NameTaken(f"There is a file called {name!r} already.") from None
                number += 1
                name = numbered(file.name, number)
            else:
                return _Placed(name, file.inode)

    def _replace(self, file: LocalStaged) -> _Placed:
        placed = _Placed(file.name, file.inode)
        backup = f"{file.label}.old"
        with self._disk.replacing():  # so that what is kept is what is replaced
            status = self._status(file.name)
            if status is not None:
                if stat.S_ISDIR(status.st_mode):
                    raise NameTaken(f"{file.name!r} is not a file and cannot be replaced.")
                self._link(file.name, self._disk.root, backup, self._disk.staging)
                placed.backup = backup
            try:
                os.rename(file.label, file.name, src_dir_fd=self._disk.staging, dst_dir_fd=self._disk.root)
            except BaseException:
                self._unlink(backup)
                raise
        return placed

    def _take_back(self, placed: list[_Placed]) -> None:
        """Undo what was placed, as far as it is still ours: a name that somebody has replaced since is theirs."""
        for one in reversed(placed):
            try:
                with self._disk.replacing():
                    status = self._status(one.name)
                    ours = status is not None and status.st_ino == one.inode
                    if ours and one.backup is not None:
                        os.rename(one.backup, one.name, src_dir_fd=self._disk.staging, dst_dir_fd=self._disk.root)
                    elif ours:
                        os.unlink(one.name, dir_fd=self._disk.root)
                    elif one.backup is not None:
                        self._unlink(one.backup)
            except OSError as error:  # the others are to be taken back all the same
                logger.error("%r could not be taken back: %s", one.name, error)
        with suppress(OSError):
            os.fsync(self._disk.root)

    def _status(self, name: str) -> os.stat_result | None:
        """What is published under `name`, be it a file or not; None if nothing is."""
        try:
            return os.stat(name, dir_fd=self._disk.root, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _unlink(self, label: str) -> None:
        """Remove a name from the staging directory, if it is there."""
        try:
            os.unlink(label, dir_fd=self._disk.staging)
        except FileNotFoundError:
            pass
        except OSError as error:  # whoever is leaving has an outcome already; this does not change it
            logger.error("the staged file %s could not be removed: %s", label, error)

    @staticmethod
    def _link(source: str, source_dir: int, target: str, target_dir: int) -> None:
        os.link(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir, follow_symlinks=False)
