"""What is published in a directory: looking at it, and removing from it. Blocks; runs in threads.

A name that no client could ask for (`check_name` refuses it) and what is no regular file do not count as published,
though they lie in the root.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from secrets import token_hex
from uuid import uuid4

from headgate.errors import InvalidName
from headgate.names import check_name
from headgate.storage.entry import Cursor, Entry, Precondition, SortKey
from headgate.storage.local.catalog.source import open_published
from headgate.storage.local.catalog.usage import owner_of
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import entry_of, stat_or_none, unlink
from headgate.storage.local.disk.os_errors import translate_os_errors
from headgate.storage.local.disk.yielding import sorted_yielding, yielding
from headgate.storage.quota import Possession, Possessions

__all__ = ["cursors", "published_names", "remove", "stat_published", "stat_readable"]


def stat_published(disk: Disk, name: str) -> Entry | None:
    """The published file `name`; None if there is none. Raises StorageFailed."""
    with translate_os_errors():
        status = stat_or_none(name, disk.root)
    return entry_of(name, status) if status is not None and stat.S_ISREG(status.st_mode) else None


def stat_readable(disk: Disk, name: str) -> Entry | None:
    """The same; but None for a file that this process may not read, since no client could have it. Raises
    StorageFailed."""
    entry = stat_published(disk, name)
    if entry is None:
        return None
    with translate_os_errors():
        try:
            if not os.stat(name, dir_fd=disk.root, follow_symlinks=False).st_mode & stat.S_IROTH:
                os.close(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=disk.root))
        except (PermissionError, FileNotFoundError):
            return None
    return entry


def published_names(disk: Disk) -> Iterator[bytes]:
    """The names of all published files. Raises StorageFailed."""
    with translate_os_errors(), os.scandir(disk.root) as entries:
        for entry in yielding(entries):
            with suppress(InvalidName):
                if entry.is_file(follow_symlinks=False):
                    yield check_name(entry.name).encode()


def cursors(disk: Disk, sort_key: SortKey) -> list[Cursor]:
    """The places of all published files in a list by `sort_key`, sorted. Raises StorageFailed."""
    looked_at = (stat_published(disk, name.decode()) for name in published_names(disk))
    return sorted_yielding(sort_key.cursor(entry) for entry in looked_at if entry is not None)


def remove(disk: Disk, name: str, precondition: Precondition) -> tuple[int, Possessions]:
    """Remove the published file `name`, durably, if `precondition` holds.

    Return a descriptor whose close frees its blocks, and the possession that is gone. Raises FileNotFound,
    PreconditionFailed, StorageFailed, and then the file is there as before.
    """
    with translate_os_errors(), disk.root_lock():  # so that what is returned is what was removed
        fd, status = open_published(disk, name, may_be_unreadable=True)
        try:
            precondition.check(entry_of(name, status))
            with suppress(OSError):  # its publisher still has it locked; or it may not be read
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            owner = owner_of(disk.root, name)
            # Aside, under a name that a sweeper knows, until it is sure that it can be gone.
            aside = f"{uuid4()}.{token_hex(4)}.0"
            os.rename(name, aside, src_dir_fd=disk.root, dst_dir_fd=disk.staging)
            try:
                os.fsync(disk.root)
            except OSError:
                with suppress(FileExistsError):  # another file was published by the name meanwhile
                    os.link(aside, name, src_dir_fd=disk.staging, dst_dir_fd=disk.root)
                unlink(aside, disk.staging)
                raise
        except BaseException:
            os.close(fd)
            raise
        unlink(aside, disk.staging)
    return fd, {status.st_ino: Possession(owner, status.st_size)} if status.st_nlink == 1 else {}
