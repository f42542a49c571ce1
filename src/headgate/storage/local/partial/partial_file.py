"""The bytes of one resumable upload, and a record beside them, both in the staging directory.

Rules of this file:

- The bytes on the disk are the offset. They are measured each time that the file is entered, whatever was known before.
- Between two contexts the file costs no descriptor, and another process may enter it.
- Bytes without a record are swept; a record without bytes tells what has become of them.
"""

import hashlib
import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID

from headgate.config import OnConflict
from headgate.errors import StorageFailed, UploadGone
from headgate.lowlevel.cancellation import uninterrupted
from headgate.lowlevel.page_memory import Data
from headgate.lowlevel.thread_pools import DIGESTS
from headgate.storage.entry import NO_PRECONDITION, ExpectedSize, Precondition, Published
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import close_quietly, open_own, stat_or_none, unlink
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.incoming.reserving import RESERVE_STEP_BYTES, reserve
from headgate.storage.local.incoming.staged_file import LocalStagedFile
from headgate.storage.local.partial.partial_lookup import Found
from headgate.storage.local.partial.stored_record import DRAFT, RECORD, SUFFIX, StoredRecord, read_stored, write_stored
from headgate.storage.local.publishing.changes import Change
from headgate.storage.local.publishing.group_commit import GroupCommit
from headgate.storage.local.publishing.publication import BACKUP, REPLACEMENT, Publication
from headgate.storage.quota import Account, Ledger, Possession

__all__ = ["LocalPartialFile"]

#: Bytes that are copied at once from another file: a cancellation waits for them.
COPY_BYTES = 16 * 1024 * 1024

#: Bytes that are read at once for digests.
DIGEST_BYTES = 1024 * 1024


class LocalPartialFile:
    """See ``storage.contract.PartialFile``. `account`, `record_account`: of the bytes, and of the record; `publishing`:
    the inodes of those files that are being published."""

    def __init__(
        self,
        disk: Disk,
        commits: GroupCommit,
        ledger: Ledger,
        account: Account,
        record_account: Account,
        publishing: set[int],
        id_: UUID,
        found: Found,
    ) -> None:
        self._disk = disk
        self._commits = commits
        self._ledger = ledger
        self._account = account
        self._record_account = record_account
        self._publishing = publishing
        self._label = f"{id_}{SUFFIX}"
        self._stored = found.record
        self._open_file: LocalStagedFile | None = None
        self._entered_size = 0
        self.id = id_
        self.size = None if found.status is None else self._counted(found.status.st_size)
        latest = found.status or found.record_status
        assert latest is not None
        self.changed_at = latest.st_mtime

    @property
    def owner(self) -> str:
        return self._stored.owner

    @property
    def record(self) -> str:
        return self._stored.text

    @property
    def published(self) -> Published | None:
        return self._stored.published

    @property
    def _file(self) -> LocalStagedFile:
        assert self._open_file is not None, "it was not entered"
        return self._open_file

    async def __aenter__(self) -> Self:
        self._open_file = file = await uninterrupted(self._disk.run_names(self._open))
        self.size = self._entered_size = file.size
        self._account.set_stored(file.size)
        return self

    def _open(self) -> LocalStagedFile:
        with translate_os_errors():
            try:
                fd = open_own(self._label, os.O_RDWR, self._disk.staging)
            except FileNotFoundError:
                self._read_stored()
                raise UploadGone from None
            try:
                self._read_stored()
                self.changed_at = os.fstat(fd).st_mtime
                file = LocalStagedFile(self._disk, self._account, self._promise, fd, self._label, "")
                file.size = os.lseek(fd, 0, os.SEEK_END)
                start = self._stored.chunk_start
                if start is not None:  # a process was killed before it knew whether the chunk was right
                    file.truncate(min(file.size, start))
                    self._replace_stored(replace(self._stored, chunk_start=None), durably=False)
            except BaseException:
                close_quietly(fd)
                raise
            return file

    def _counted(self, size: int) -> int:
        """`size` without the bytes of a chunk that was not confirmed."""
        start = self._stored.chunk_start
        return size if start is None else min(size, start)

    def _read_stored(self) -> None:
        """Another process may have replaced the record."""
        with suppress(FileNotFoundError):
            self._stored = read_stored(self._disk, self._label)[0]

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        file, self._open_file = self._open_file, None
        if file is None:
            return
        try:
            status = await uninterrupted(file.close())
            self.size, self.changed_at = self._counted(status.st_size), status.st_mtime
        finally:
            self._account.set_stored(self.size or 0)
            self._account.reserve(0, 0)  # what is still to come is promised again to the request that brings it

    # Inside its context.

    async def reserve(self, expected: ExpectedSize) -> None:
        await reserve(self._disk, self._ledger, self._account, expected)

    async def _promise(self, size: int) -> None:
        await self.reserve(ExpectedSize(size, max(size, RESERVE_STEP_BYTES)))

    async def write(self, data: Data) -> None:
        file = self._file
        await file.write(data)
        self.size = file.size

    async def wait_for_writes(self) -> None:
        await uninterrupted(self._file.wait_idle())
        self._set_size(self._file.size)

    async def begin_chunk(self) -> None:
        await self._update(replace(self._stored, chunk_start=self._file.size), durably=False)

    async def confirm_chunk(self) -> None:
        await self._update(replace(self._stored, chunk_start=None), durably=False)

    async def roll_back(self) -> None:
        start = self._stored.chunk_start
        await self._truncate(self._entered_size if start is None else start)
        if start is not None:
            await self.confirm_chunk()

    async def clear(self) -> None:
        await self._truncate(0)

    async def _truncate(self, size: int) -> None:
        file = self._file
        await uninterrupted(file.run(lambda: file.truncate(size)))
        self._set_size(size)

    def _set_size(self, size: int) -> None:
        self.size = size
        self._account.set_stored(size)

    async def append(self, other: "LocalPartialFile") -> None:
        file, label = self._file, other._label
        try:
            with translate_os_errors():
                open_ = partial(open_own, label, os.O_RDONLY, self._disk.staging)
                fd = await uninterrupted(self._disk.run_names(open_))
        except StorageFailed as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise UploadGone from None
            raise
        copied = 0
        try:
            while piece := await file.run(partial(file.copy, fd, copied, COPY_BYTES)):
                copied += piece
                self.size = file.size
                self._account.written += piece
        finally:
            await uninterrupted(file.wait_idle())
            self._disk.free_later(fd)  # it may have no name any more

    async def digests(self, algorithms: Collection[str]) -> dict[str, bytes]:
        file, offset = self._file, 0
        hashes = {algorithm: hashlib.new(algorithm) for algorithm in algorithms}
        while hashes and (data := await file.run(partial(file.read, offset, DIGEST_BYTES))):
            offset += len(data)
            for hash_ in hashes.values():
                await DIGESTS.run(partial(hash_.update, data))
        return {algorithm: hash_.digest() for algorithm, hash_ in hashes.items()}

    async def sync(self) -> None:
        await self._file.sync()

    async def publish(
        self, name: str, on_conflict: OnConflict, record: str, precondition: Precondition = NO_PRECONDITION
    ) -> Published:
        file = self._file
        file.name = name
        self._publishing.add(file.inode)
        stored = self._stored.with_text(record)
        publication = Publication(
            *(self._disk, [file], on_conflict, precondition),
            on_placed=lambda published: self._replace_stored(replace(stored, published=published[0])),
        )
        with Change(self._disk.changes):
            try:
                await uninterrupted(self._commits.begin_alone(publication))
                (published,) = publication.outcome()
            finally:
                self._publishing.discard(file.inode)
            possession = Possession(self._account.owner, published.entry.size)
            self._account.settle({file.inode: possession}, publication.replaced)
        self._record_account.close()
        self._open_file, self.size = None, None
        return published

    # At any time.

    async def refresh(self) -> None:
        self.size = await self._disk.run_names(self._refresh)

    def _refresh(self) -> int:
        with translate_os_errors():
            self._read_stored()
            status = stat_or_none(self._label, self._disk.staging)
            if status is None:
                raise UploadGone
            self.changed_at = status.st_mtime
            return self._counted(status.st_size)

    async def update_record(self, record: str, *, durably: bool = True) -> None:
        await self._update(self._stored.with_text(record), durably=durably)

    async def _update(self, stored: StoredRecord, *, durably: bool) -> None:
        run = self._disk.run_sync if durably else self._disk.run_names
        await uninterrupted(run(lambda: self._replace_stored(stored, durably=durably)))

    def _replace_stored(self, stored: StoredRecord, *, durably: bool = True) -> None:
        with translate_os_errors():
            write_stored(self._disk, self._label, stored, durably=durably)
        self._stored = stored

    async def touch(self) -> None:
        await self._disk.run_names(self._touch)

    def _touch(self) -> None:
        with suppress(OSError):  # then it expires sooner
            os.utime(self._label, dir_fd=self._disk.staging, follow_symlinks=False)
        self.changed_at = time.time()

    async def delete_bytes(self) -> None:
        file, self._open_file = self._open_file, None
        await uninterrupted(self._disk.run_names(self._unlink))
        if file is not None:
            file.discard()
        self.release()
        self.size = None

    async def discard(self) -> None:
        await self.delete_bytes()
        await uninterrupted(self._disk.run_names(lambda: unlink(self._label + RECORD, self._disk.staging)))

    def _unlink(self) -> None:
        fd = None
        with suppress(OSError):  # opened, so that its blocks are freed at the close, for which no caller waits
            fd = open_own(self._label, os.O_RDONLY, self._disk.staging)
        for name in (*(self._label + suffix for suffix in (REPLACEMENT, BACKUP, DRAFT)), self._label):
            unlink(name, self._disk.staging)
        if fd is not None:
            self._disk.free_later(fd)

    def release(self) -> None:
        self._account.close()
        self._record_account.close()
