"""Partial files in the staging directory: created, found, listed. Blocks; runs in threads."""

import os
import re
from dataclasses import dataclass, replace
from uuid import UUID

from headgate.errors import JobIdTaken
from headgate.storage.entry import Published
from headgate.storage.local.catalog.usage import record_owner, stored_owner
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import close_quietly, entry_of, stat_or_none, unlink
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.disk.yielding import yielding
from headgate.storage.local.incoming.staged_file import create_locked
from headgate.storage.local.partial.stored_record import RECORD, SUFFIX, StoredRecord, read_stored, write_stored

__all__ = ["Found", "create_partial", "find_partial", "list_partials"]

#: The name of a partial file's bytes: its id, and the suffix.
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.kept")


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a partial file: its record, and the status of its bytes, if there are any, and of the record."""

    record: StoredRecord
    status: os.stat_result | None
    record_status: os.stat_result | None = None


def create_partial(disk: Disk, id_: UUID, owner: str, text: str) -> Found:
    """Create a partial file of `owner`, durably. Raises JobIdTaken, StorageFull, StorageFailed, Busy."""
    label, record = f"{id_}{SUFFIX}", StoredRecord(text, owner)
    with translate_os_errors():
        disk.check_staging()
        if any(stat_or_none(name, disk.staging) is not None for name in (label, label + RECORD)):
            raise JobIdTaken
        # Locked until there is a record: bytes without one are swept.
        try:
            fd = create_locked(label, disk.staging)
        except FileExistsError:
            raise JobIdTaken from None
        try:
            if disk.can_record_owners:
                record_owner(fd, stored_owner(owner))
            write_stored(disk, label, record)
            status = os.fstat(fd)
        except BaseException:
            for name in (label + RECORD, label):
                unlink(name, disk.staging)
            raise
        finally:
            close_quietly(fd)
    return Found(record, status)


def find_partial(disk: Disk, id_: UUID) -> Found | None:
    """What there is of the partial file `id_`; None if there is nothing. Raises StorageFailed.

    A process that was killed after it had published the file, and before it could write that down, leaves it with two
    names: then that is written down now.
    """
    label = f"{id_}{SUFFIX}"
    with translate_os_errors():
        try:
            record, record_status = read_stored(disk, label)
        except FileNotFoundError:
            return None
        status = stat_or_none(label, disk.staging)
        if status is not None and status.st_nlink > 1 and record.published is None:
            published = _published(disk, status.st_ino)
            if published is not None:
                os.fsync(disk.root)  # its name may not have been durable yet
                record = replace(record, published=published)
    return Found(record, status, record_status)


def list_partials(disk: Disk) -> list[UUID]:
    """The ids of all partial files that have bytes. Raises StorageFailed."""
    with translate_os_errors(), os.scandir(disk.staging) as entries:
        return [UUID(match[1]) for entry in yielding(entries) if (match := _NAME.fullmatch(entry.name))]


def _published(disk: Disk, inode: int) -> Published | None:
    """The published file that has `inode`; whether it replaced another is not known any more."""
    with os.scandir(disk.root) as entries:
        for entry in yielding(entries):
            if entry.inode() == inode:
                return Published(entry_of(entry.name, entry.stat(follow_symlinks=False)), replaced=False)
    return None
