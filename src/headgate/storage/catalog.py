"""What is published in a directory: listing it, and removing from it. Blocks; runs in threads.

A name that nobody could ask for (`check_name` refuses it) and what is no regular file are not published, whoever put
them here.
"""

import fcntl
import heapq
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from secrets import token_hex
from uuid import uuid4

from headgate.errors import InvalidName
from headgate.names import check_name
from headgate.storage.base import Entry, Expect
from headgate.storage.census import owner_of
from headgate.storage.disk import Disk, entry_of, mapped, unhurried
from headgate.storage.ledger import Possession, Possessions
from headgate.storage.publication import unlink
from headgate.storage.source import open_published

__all__ = ["list_published", "look", "remove"]


def look(disk: Disk, name: str) -> Entry | None:
    """What is published as `name`, if anything is. Raises StorageFailed."""
    with mapped():
        try:
            status = os.stat(name, dir_fd=disk.root, follow_symlinks=False)
        except FileNotFoundError:
            return None
    return entry_of(name, status) if stat.S_ISREG(status.st_mode) else None


def list_published(disk: Disk, after: str, most: int) -> list[Entry]:
    """Up to `most` published files whose names come after `after`, in the order of their UTF-8 bytes.

    Raises StorageFailed.
    """
    listed: list[Entry] = []
    names = [after.encode()]
    while names and len(listed) < most:  # again if some were gone before they were looked at: fewer must mean no more
        wanted = most - len(listed)
        with mapped(), os.scandir(disk.root) as entries:
            names = heapq.nsmallest(wanted, _names(entries, names[-1]))
        listed += [entry for raw in unhurried(names) if (entry := look(disk, raw.decode())) is not None]
        if len(names) < wanted:
            break
    return listed


def _names(entries: Iterator[os.DirEntry[str]], after: bytes) -> Iterator[bytes]:
    for entry in unhurried(entries):
        with suppress(InvalidName):
            if entry.is_file(follow_symlinks=False) and (name := check_name(entry.name).encode()) > after:
                yield name


def remove(disk: Disk, name: str, expect: Expect) -> tuple[int, Possessions]:
    """Remove the published file `name`, durably, if it is as `expect` wants it.

    Return a descriptor whose close frees its blocks, and what nobody has any more. Raises FileNotFound,
    PreconditionFailed, StorageFailed, and then the file is there as before.
    """
    with mapped(), disk.replacing():  # so that what is told is what was removed
        fd, status = open_published(disk, name)
        try:
            expect(entry_of(name, status))
            with suppress(BlockingIOError):  # whoever published it has not let go of it yet
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owner = owner_of(disk.root, name)
            # Aside, under a name that a sweeper knows, until it is sure that it can be gone.
            aside = f"{uuid4()}.{token_hex(4)}.0"
            os.rename(name, aside, src_dir_fd=disk.root, dst_dir_fd=disk.staging)
            try:
                os.fsync(disk.root)
            except OSError:
                with suppress(FileExistsError):  # somebody was told that the name is theirs by now
                    os.link(aside, name, src_dir_fd=disk.staging, dst_dir_fd=disk.root)
                unlink(aside, disk.staging)
                raise
        except BaseException:
            os.close(fd)
            raise
        unlink(aside, disk.staging)
    return fd, {status.st_ino: Possession(owner, status.st_size)} if status.st_nlink == 1 else {}
