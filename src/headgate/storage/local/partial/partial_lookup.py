"""What is kept in a directory, besides what somebody holds: begun, found, listed. Blocks; runs in threads."""

import os
import re
from dataclasses import dataclass
from uuid import UUID

from headgate.errors import JobIdTaken
from headgate.storage.entry import Entry
from headgate.storage.local.disk.disk import Disk, close_quietly, entry_of, mapped, open_own, unhurried, unlink
from headgate.storage.local.incoming.staged_file import create_locked
from headgate.storage.local.partial.partial_file import RECORD, SUFFIX, write_record
from headgate.storage.local.published.usage import record_owner, written

__all__ = ["Found", "create_partial", "find_partial", "list_partials"]

#: What is kept, as it is called: its id.
NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.kept")


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a kept file: its record, and what the system says of its bytes and of the record."""

    record: str
    status: os.stat_result | None
    recorded: os.stat_result | None = None
    published: Entry | None = None


def create_partial(disk: Disk, id_: UUID, owner: str, record: str) -> Found:
    """Begin a file for the job `id_`, durably. Raises JobIdTaken, StorageFull, StorageFailed, Busy. Blocks."""
    label = f"{id_}{SUFFIX}"
    with mapped():
        disk.check_staging()
        if _exists(label, disk.staging) or _exists(label + RECORD, disk.staging):
            raise JobIdTaken
        # Locked until there is a record: before that, bytes are nobody's, and would be swept.
        try:
            fd = create_locked(label, disk.staging)
        except FileExistsError:
            raise JobIdTaken from None
        try:
            if disk.knows_owners:
                record_owner(fd, written(owner))
            write_record(disk, label, record)
            status = os.fstat(fd)
        except BaseException:
            for name in (label + RECORD, label):
                unlink(name, disk.staging)
            raise
        finally:
            close_quietly(fd)
    return Found(record, status)


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def find_partial(disk: Disk, id_: UUID) -> Found | None:
    """What was kept of the job `id_`, if anything is. Raises StorageFailed. Blocks."""
    label = f"{id_}{SUFFIX}"
    with mapped():
        try:
            fd = open_own(label + RECORD, os.O_RDONLY, disk.staging)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
            record = file.read()
            recorded = os.fstat(fd)
        try:
            status: os.stat_result | None = os.stat(label, dir_fd=disk.staging, follow_symlinks=False)
        except FileNotFoundError:
            status = None
        published = None if status is None or status.st_nlink == 1 else _published(disk, status.st_ino)
        if published is not None:
            os.fsync(disk.root)  # its name may not have been durable yet
    return Found(record, status, recorded, published)


def list_partials(disk: Disk) -> list[UUID]:
    """By which ids something with bytes is kept. Raises StorageFailed. Blocks."""
    with mapped(), os.scandir(disk.staging) as entries:
        return [UUID(match[1]) for entry in unhurried(entries) if (match := NAME.fullmatch(entry.name))]


def _published(disk: Disk, inode: int) -> Entry | None:
    """Where the file `inode` is published: a process was killed before it could note that."""
    with os.scandir(disk.root) as entries:
        for entry in unhurried(entries):
            if entry.inode() == inode:
                return entry_of(entry.name, entry.stat(follow_symlinks=False))
    return None
