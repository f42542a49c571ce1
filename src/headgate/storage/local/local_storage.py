"""Files in a directory of this machine.

Published files lie in ``root`` under their names, staged ones in ``root/.staging``, on the same file system. Publishing
is fsync(file), then a hard link (which refuses a taken name) or a rename, then fsync(directory): a name is there only
when every byte is, and an answer is given only when both would survive a power cut.

Rules of these rooms (local and those below it):

- Everything is relative to two directory descriptors, opened once. No path is ever joined, no symlink in the root is
  followed.
- What may block goes to the storage's own threads, with one exception: writes, while the page cache absorbs them.
- OSError does not leave these rooms.
"""

import asyncio
import errno
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from headgate.errors import StorageUnusable
from headgate.lowlevel.cancellation import uninterrupted
from headgate.storage.entry import (
    NO_PRECONDITION,
    Capabilities,
    Cursor,
    Entry,
    ExpectedSize,
    Precondition,
    SortKey,
)
from headgate.storage.local.catalog.catalog import remove, stat_published
from headgate.storage.local.catalog.listing import Listings
from headgate.storage.local.catalog.source import LocalSource, open_source
from headgate.storage.local.catalog.usage import record_owner, stored_owner, take_census
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import STAGING, open_staging
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.incoming.memory_budget import MemoryBudget
from headgate.storage.local.incoming.reserving import admit, reserve
from headgate.storage.local.incoming.small_file import SMALL_FILE_BYTES, can_link_unnamed
from headgate.storage.local.incoming.stage import LargeStage, LocalStage, SmallStage
from headgate.storage.local.incoming.staged_file import create_locked
from headgate.storage.local.partial.file_locks import FileLockManager
from headgate.storage.local.partial.partial_file import LocalPartialFile
from headgate.storage.local.partial.partial_lookup import Found, create_partial, find_partial, list_partials
from headgate.storage.local.publishing.changes import Change
from headgate.storage.local.publishing.group_commit import GroupCommit
from headgate.storage.local.sweeper import sweep
from headgate.storage.quota import Ledger

__all__ = ["LocalStorage"]

logger = logging.getLogger("headgate.storage")

#: The name with which starting tries out what a publish needs. Always the same, so that a killed start leaves one.
PROBE_NAME = ".headgate-probe"


#: Bytes that a partial file takes on the disk besides its own and those of its record: two files' places.
RECORD_BYTES = 4096


#: Bytes up to which no quota counts a record. A larger one, by what its client wrote into it, counts as a whole.
UNCOUNTED_RECORD_BYTES = 1024


def _counted(record: str) -> int:
    """Bytes that the quota of its owner counts for `record`, as long as the upload is under way."""
    return len(record) if len(record) > UNCOUNTED_RECORD_BYTES else 0


class LocalStorage:
    """A Storage over the directory `root`.

    `ledger`: counts the bytes for the quotas; by default there are none. `threads`: how many disk calls may wait at
    once. `min_free_files`: files that the file system can still make, below which no upload is taken. `sweep_interval`:
    seconds between looks for what killed processes left, and between counts for the quotas. `keep_for`: seconds for
    which a partial file is kept that is not written to.
    """

    capabilities = Capabilities(
        max_files_per_stage=sys.maxsize, sort_keys=frozenset(SortKey), descending=True, concatenation=True
    )

    def __init__(
        self,
        root: Path,
        *,
        ledger: Ledger | None = None,
        threads: int = 16,
        min_free_files: int = 0,
        sweep_interval: float = 300.0,
        keep_for: float = 24 * 3600.0,
    ) -> None:
        self._root = root
        self.ledger = ledger or Ledger()
        self._threads = threads
        self._min_free_files = min_free_files
        self._sweep_interval = sweep_interval
        self._keep_for = keep_for
        self._started: Disk | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self._open_stages: set[LocalStage[Any]] = set()
        self._memory = MemoryBudget()
        self._publishing: set[int] = set()  # inodes of partial files that are being given their names
        #: Locks of the uploads in this root, between the processes that share it.
        self.upload_locks = FileLockManager(lambda: self._disk)

    @property
    def _disk(self) -> Disk:
        assert self._started is not None, "start() comes first"
        return self._started

    async def start(self) -> None:
        self._started = await asyncio.to_thread(self._start)
        self._commits = GroupCommit(self._started)
        self._listings = Listings(self._started)
        try:
            await self.tidy()
        except OSError as error:
            await self.close()
            raise StorageUnusable(
                f"{self._root} cannot be swept or counted: {os.strerror(error.errno or 0)}"
            ) from error
        self._housekeeping = asyncio.create_task(self._keep_house())

    async def close(self) -> None:
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait([self._housekeeping])
        await self._commits.close()
        await self._listings.close()
        for stage in list(self._open_stages):  # of jobs whose own code held the shutdown up for too long
            await stage.discard()
        await asyncio.to_thread(self._disk.close)
        self._started = None

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_interval)
            try:
                await self.tidy()
            except OSError as error:
                logger.error("%s cannot be swept or counted: %s", self._root, error)
            except Exception:
                logger.exception("a round of housekeeping has failed; the next one comes")

    async def tidy(self) -> None:
        """Remove what killed processes left, and count what is published if there are quotas. Raises OSError."""
        disk = self._disk
        await disk.run_scan(lambda: sweep(disk.staging, self._keep_for))
        if self.ledger.counts:
            self.ledger.begin_census()
            census = await disk.run_scan(lambda: take_census(disk.root))
            await disk.changes.wait_told()  # a file that is gone for the census must not be subtracted again
            staged = set().union(*(stage.inodes for stage in self._open_stages))
            self.ledger.end_census(census, staged | self._publishing)

    async def check(self) -> None:
        with translate_os_errors():
            await self._disk.run_sync(lambda: self._probe_again(self._disk))

    def _probe_again(self, disk: Disk) -> None:
        """Do what a publish does, as at the start. Raises OSError. Blocks."""
        disk.check_staging()
        with disk.root_lock():  # others may be trying it, too
            self._probe(disk)

    def stage(self, job: UUID, owner: str, expected: ExpectedSize | None = None) -> LocalStage[Any]:
        disk, size = self._disk, 0 if expected is None else expected.most
        arguments = (disk, self._commits, self.ledger, self._open_stages, job, owner, expected)
        if 0 < size <= SMALL_FILE_BYTES and disk.can_link_unnamed and self._memory.has(size):
            return SmallStage(*arguments, memory=self._memory)
        return LargeStage(*arguments)

    async def create_partial(self, id: UUID, owner: str, record: str) -> LocalPartialFile:  # noqa: A002 - what it is
        counted = _counted(record)
        account = self.ledger.open(stored_owner(owner))
        try:  # an upload of no bytes takes some, too
            await admit(self._disk, self.ledger, account, len(record) + RECORD_BYTES)
            if counted:
                await reserve(self._disk, self.ledger, account, ExpectedSize(counted, counted))
        finally:
            account.close()
        found = await uninterrupted(self._disk.run_sync(lambda: create_partial(self._disk, id, owner, record)))
        return self._partial(id, found)

    async def find_partial(self, id: UUID) -> LocalPartialFile | None:  # noqa: A002 - what it is
        found = await self._disk.run_sync(lambda: find_partial(self._disk, id))
        return None if found is None else self._partial(id, found)

    def _partial(self, id_: UUID, found: Found) -> LocalPartialFile:
        """The partial file that was `found`, counted as its owner's. On the loop, which alone keeps accounts."""
        owner = stored_owner(found.record.owner)
        account, record_account = self.ledger.open(owner), self.ledger.open(owner)
        if found.status is None:
            account.close()
            record_account.close()
        else:
            account.set_stored(found.status.st_size)
            record_account.set_stored(_counted(found.record.text))
        return LocalPartialFile(
            self._disk, self._commits, self.ledger, account, record_account, self._publishing, id_, found
        )

    async def list_partials(self) -> list[UUID]:
        return await self._disk.run_scan(lambda: list_partials(self._disk))

    async def open(self, name: str) -> LocalSource:
        # Uninterrupted: a file that a thread opens for a caller that is gone would stay open.
        return await uninterrupted(self._disk.run_names(lambda: open_source(self._disk, name)))

    async def stat(self, name: str) -> Entry | None:
        return await self._disk.run_names(lambda: stat_published(self._disk, name))

    async def list(
        self, after: Cursor | None, limit: int, sort_key: SortKey = SortKey.NAME, *, descending: bool = False
    ) -> list[Entry]:
        return await self._listings.page(after, limit, sort_key, descending=descending)

    async def delete(self, name: str, precondition: Precondition = NO_PRECONDITION) -> None:
        with Change(self._disk.changes):
            fd, gone = await uninterrupted(self._disk.run_sync(lambda: remove(self._disk, name, precondition)))
            self.ledger.settle(None, {}, gone)
        self._disk.free_later(fd)

    def _start(self) -> Disk:
        """Open the directories, and try once everything that a publish needs."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        opened: list[int] = []
        disk: Disk | None = None
        try:
            self._root.mkdir(exist_ok=True)
            opened.append(os.open(self._root, flags))
            with suppress(FileExistsError):
                os.mkdir(STAGING, 0o700, dir_fd=opened[0])
            opened.append(open_staging(opened[0]))
            disk = Disk(opened[0], opened[1], self._threads, self._min_free_files)
            with disk.root_lock():  # another server may be starting on this root
                disk.can_record_owners = self._probe(disk)
                disk.can_link_unnamed = can_link_unnamed(PROBE_NAME, disk.staging)
        except OSError as error:
            if disk is not None:
                disk.close()
            else:
                for fd in opened:
                    os.close(fd)
            reason = error.strerror or str(error)
            hint = _HINTS.get(error.errno or 0, "") if reason == os.strerror(error.errno or 0) else ""
            raise StorageUnusable(f"{self._root} cannot hold uploads: {reason}{hint}") from error
        if self.ledger.counts_owners and not disk.can_record_owners:
            disk.close()
            raise StorageUnusable(
                f"{self._root} cannot keep a quota per owner: its file system has no extended attributes"
            )
        return disk

    @staticmethod
    def _probe(disk: Disk) -> bool:
        """Do what a publish does; tell whether owners can be written down. Raises OSError."""
        for directory in (disk.staging, disk.root):
            with suppress(FileNotFoundError):
                os.unlink(PROBE_NAME, dir_fd=directory)
        fd = create_locked(PROBE_NAME, disk.staging)
        try:
            os.write(fd, b"headgate")
            os.fsync(fd)
            os.link(PROBE_NAME, PROBE_NAME, src_dir_fd=disk.staging, dst_dir_fd=disk.root, follow_symlinks=False)
            os.unlink(PROBE_NAME, dir_fd=disk.root)
            os.rename(PROBE_NAME, PROBE_NAME, src_dir_fd=disk.staging, dst_dir_fd=disk.root)
            os.fsync(disk.root)
            try:
                record_owner(fd, "headgate")
            except OSError as error:
                if error.errno not in _NO_OWNERS:
                    raise
                return False
            return True
        finally:
            os.close(fd)
            for directory in (disk.staging, disk.root):
                with suppress(FileNotFoundError):
                    os.unlink(PROBE_NAME, dir_fd=directory)


_NO_OWNERS = frozenset({errno.ENOTSUP, errno.EPERM, errno.EACCES})

_HINTS = {
    errno.EPERM: " (a file system without hard links cannot refuse a taken name atomically)",
    errno.EOPNOTSUPP: " (a file system without hard links cannot refuse a taken name atomically)",
    errno.ENOSYS: " (a file system without hard links cannot refuse a taken name atomically)",
    errno.EXDEV: f" ({STAGING} must be on the same file system)",
    errno.ENOENT: " (its parent directory must exist)",
    errno.ELOOP: f" ({STAGING} may not be a symbolic link)",
}
