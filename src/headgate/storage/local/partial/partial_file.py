"""One file of an upload that outlives its process: its bytes as they came, and a record beside them.

Rules of this room:

- The bytes on the disk are the offset. They are looked at each time that somebody opens the file, and nobody believes
  what was known before.
- Open means locked: by one at a time, over processes. In between nobody holds it, and it costs no descriptor.
- The record is the caller's text. It is replaced at once and whole. Bytes without a record are nobody's; a record
  without bytes tells what has become of them.
"""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID

from headgate.config import OnConflict
from headgate.errors import StorageFailed, UploadGone, UploadLocked
from headgate.lowlevel.cancellation import uninterrupted
from headgate.lowlevel.page_memory import Data
from headgate.storage.entry import Entry, Expect, Published, expect_anything
from headgate.storage.local.disk.disk import Disk, close_quietly, mapped, open_own, unlink
from headgate.storage.local.incoming.stage import STEP, reserve
from headgate.storage.local.incoming.staged_file import LocalStagedFile, lock
from headgate.storage.local.publishing.changes import Change
from headgate.storage.local.publishing.group_commit import GroupCommit
from headgate.storage.local.publishing.publication import BACKUP, REPLACEMENT, Publication
from headgate.storage.quota import Account, Ledger, Possession

__all__ = ["RECORD", "SUFFIX", "LocalPartialFile", "read_record", "write_record"]

#: What the bytes of a job are called, after its id; and their record, after that.
SUFFIX = ".kept"
RECORD = ".json"

#: Where a record waits until it is whole, after the bytes' name.
DRAFT = ".draft"

#: Bytes that are copied at once from another file: whoever is stopped meanwhile waits for them.
SLICE = 16 * 1024 * 1024

#: Seconds between tries, and how many, while another process lets go: a sweeper looks in now and then.
PATIENCE = 0.02
TRIES = 25


def read_record(disk: Disk, label: str) -> str:
    """The record of `label`. Raises OSError. Blocks."""
    fd = open_own(label + RECORD, os.O_RDONLY, disk.staging)
    with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
        return file.read()


def write_record(disk: Disk, label: str, text: str, *, durably: bool = True) -> None:
    """Make `text` the record of `label`, at once and whole. Raises OSError. Blocks."""
    draft = label + DRAFT
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(draft, flags, 0o600, dir_fd=disk.staging), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durably:
                os.fsync(file.fileno())
        os.rename(draft, label + RECORD, src_dir_fd=disk.staging, dst_dir_fd=disk.staging)
    except BaseException:
        unlink(draft, disk.staging)
        raise
    if durably:
        os.fsync(disk.staging)


class LocalPartialFile:
    """See ``storage.contract.PartialFile``. `status`: of the bytes, if there are any; `recorded`: of the record;
    `publishing`: the inodes of those that are being published."""

    def __init__(
        self,
        disk: Disk,
        commits: GroupCommit,
        account: Account,
        recorded_account: Account,
        ledger: Ledger,
        publishing: set[int],
        id_: UUID,
        record: str,
        status: os.stat_result | None,
        recorded: os.stat_result | None = None,
        published: Entry | None = None,
    ) -> None:
        self._disk = disk
        self._commits = commits
        self._account = account
        self._recorded_account = recorded_account  # of its record
        self._ledger = ledger
        self._publishing = publishing
        self._label = f"{id_}{SUFFIX}"
        self._staged: LocalStagedFile | None = None
        self.id = id_
        self.record = record
        self.published = published
        self.size = None if status is None else status.st_size
        latest = status or recorded
        assert latest is not None
        self.changed_at = latest.st_mtime

    @property
    def _file(self) -> LocalStagedFile:
        assert self._staged is not None, "it is not open"
        return self._staged

    async def __aenter__(self) -> Self:
        for _ in range(TRIES):
            with suppress(UploadLocked):
                self._staged = await uninterrupted(self._disk.run_names(self._open))
                self.size = self._staged.size
                self._account.has(self.size)
                return self
            await asyncio.sleep(PATIENCE)
        raise UploadLocked

    def _open(self) -> LocalStagedFile:
        with mapped():
            try:
                fd = open_own(self._label, os.O_RDWR, self._disk.staging)
            except FileNotFoundError:
                self._read_again()
                raise UploadGone from None
            try:
                lock(fd)
                self._read_again()
                if not self._is_label_of(fd):  # it was published, or dropped, before we had the lock
                    raise UploadGone
                staged = LocalStagedFile(self._disk, self._account, self._promise, fd, self._label, "")
                staged.size = os.lseek(fd, 0, os.SEEK_END)
            except BlockingIOError:
                close_quietly(fd)
                raise UploadLocked from None
            except BaseException:
                close_quietly(fd)
                raise
            return staged

    def _read_again(self) -> None:
        """Somebody else may have had it, and written down something else."""
        with suppress(FileNotFoundError):
            self.record = read_record(self._disk, self._label)

    def _is_label_of(self, fd: int) -> bool:
        status = os.fstat(fd)
        self.changed_at = status.st_mtime
        try:
            there = os.stat(self._label, dir_fd=self._disk.staging, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return there.st_ino == status.st_ino

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        staged, self._staged = self._staged, None
        if staged is None:
            return
        try:
            status = await uninterrupted(staged.leave())
            self.size, self.changed_at = status.st_size, status.st_mtime
        finally:
            self._account.has(self.size or 0)
            self._account.reserve(0, 0)  # what is still to come is promised again to whoever brings it

    # While it is open.

    async def reserve(self, least: int, most: int) -> None:
        await reserve(self._disk, self._ledger, self._account, least, most)

    async def _promise(self, size: int) -> None:
        await self.reserve(size, max(size, STEP))

    async def write(self, data: Data) -> None:
        staged = self._file
        await staged.write(data)
        self.size = staged.size

    async def settle(self) -> None:
        await uninterrupted(self._file.idle())
        self.size = self._file.size
        self._account.has(self.size)

    async def cut(self, size: int) -> None:
        staged = self._file
        await uninterrupted(staged.run(lambda: staged.cut(size)))
        self.size = size
        self._account.has(size)

    async def append(self, other: "LocalPartialFile") -> None:
        staged, label = self._file, other._label
        try:
            with mapped():
                open_ = partial(open_own, label, os.O_RDONLY, self._disk.staging)
                fd = await uninterrupted(self._disk.run_names(open_))
        except StorageFailed as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise UploadGone from None
            raise
        copied = 0
        try:
            while part := await staged.run(partial(staged.copy, fd, copied, SLICE)):
                copied += part
                self.size = staged.size
                self._account.written += part
        finally:
            await uninterrupted(staged.idle())
            self._disk.free_later(fd)  # it may have no name any more

    async def read(self, offset: int, size: int) -> bytes:
        staged = self._file
        return await staged.run(lambda: staged.read(offset, size))

    async def sync(self) -> None:
        await self._file.sync()

    async def publish(
        self,
        name: str,
        on_conflict: OnConflict,
        record: Callable[[Published], str],
        expect: Expect = expect_anything,
    ) -> Published:
        staged = self._file
        staged.name = name
        self._publishing.add(staged.inode)
        publication = Publication(
            self._disk, [staged], on_conflict, expect, lambda done: self._replace_record(record(done[0]))
        )
        with Change(self._disk.changes):
            try:
                await uninterrupted(self._commits.begin(publication))
                (done,) = publication.outcome()
            finally:
                self._publishing.discard(staged.inode)
            possession = Possession(self._account.owner, done.entry.size)
            self._account.settle({staged.inode: possession}, publication.replaced)
        self._recorded_account.close()
        self._staged, self.size = None, None
        return done

    # At any time.

    async def note(self, record: str, *, durably: bool = True) -> None:
        run = self._disk.run_sync if durably else self._disk.run_names
        await uninterrupted(run(lambda: self._replace_record(record, durably=durably)))

    def _replace_record(self, record: str, *, durably: bool = True) -> None:
        with mapped():
            write_record(self._disk, self._label, record, durably=durably)
        self.record = record

    async def touch(self) -> None:
        await self._disk.run_names(self._touch)

    def _touch(self) -> None:
        with suppress(OSError):  # then it expires sooner
            os.utime(self._label, dir_fd=self._disk.staging, follow_symlinks=False)
        self.changed_at = time.time()

    async def drop(self) -> None:
        """Remove the bytes; the record stays."""
        staged, self._staged = self._staged, None
        await uninterrupted(self._disk.run_names(self._drop))
        if staged is not None:
            staged.discard()
        self.let_go()
        self.size = None

    async def discard(self) -> None:
        """Remove the bytes and the record."""
        await self.drop()
        await uninterrupted(self._disk.run_names(lambda: unlink(self._label + RECORD, self._disk.staging)))

    def _drop(self) -> None:
        fd = None
        with suppress(OSError):  # open, so that its blocks are freed at the close, which nobody waits for
            fd = open_own(self._label, os.O_RDONLY, self._disk.staging)
        for name in (*(self._label + each for each in (REPLACEMENT, BACKUP, DRAFT)), self._label):
            unlink(name, self._disk.staging)
        if fd is not None:
            self._disk.free_later(fd)

    def let_go(self) -> None:
        """Nobody asks for it any more in this process; what is kept stays."""
        self._account.close()
        self._recorded_account.close()
