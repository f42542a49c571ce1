"""What is published in a directory: looking at it, and removing from it. Blocks; runs in threads.

A name that nobody could ask for (`check_name` refuses it) and what is no regular file are not published, whoever put
them here.
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
from headgate.storage.entry import Cursor, Entry, Expect, SortKey
from headgate.storage.local.disk.disk import Disk, entry_of, mapped, sorted_unhurried, unhurried, unlink
from headgate.storage.local.published.source import open_published
from headgate.storage.local.published.usage import owner_of
from headgate.storage.quota import Possession, Possessions

__all__ = ["look", "look_for_list", "places", "published_names", "remove"]


def look(disk: Disk, name: str) -> Entry | None:
    """What is published as `name`, if anything is. Raises StorageFailed."""
    with mapped():
        try:
            status = os.stat(name, dir_fd=disk.root, follow_symlinks=False)
        except FileNotFoundError:
            return None
    return entry_of(name, status) if stat.S_ISREG(status.st_mode) else None


def look_for_list(disk: Disk, name: str) -> Entry | None:
    """The same; but not what this process may not read: nobody could have it. Raises StorageFailed."""
    entry = look(disk, name)
    if entry is None:
        return None
    with mapped():
        try:
            if not os.stat(name, dir_fd=disk.root, follow_symlinks=False).st_mode & stat.S_IROTH:
                os.close(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=disk.root))
        except (PermissionError, FileNotFoundError):
            return None
    return entry


def published_names(disk: Disk) -> Iterator[bytes]:
    """The names of all published files. Raises StorageFailed."""
    with mapped(), os.scandir(disk.root) as entries:
        for entry in unhurried(entries):
            with suppress(InvalidName):
                if entry.is_file(follow_symlinks=False):
                    yield check_name(entry.name).encode()


def places(disk: Disk, order: SortKey) -> list[Cursor]:
    """Where all published files stand, sorted. Raises StorageFailed."""
    looked_at = (look(disk, name.decode()) for name in published_names(disk))
    return sorted_unhurried(order.place(entry) for entry in looked_at if entry is not None)


def remove(disk: Disk, name: str, expect: Expect) -> tuple[int, Possessions]:
    """Remove the published file `name`, durably, if it is as `expect` wants it.

    Return a descriptor whose close frees its blocks, and what nobody has any more. Raises FileNotFound,
    PreconditionFailed, StorageFailed, and then the file is there as before.
    """
    with mapped(), disk.replacing():  # so that what is told is what was removed
        fd, status = open_published(disk, name, may_be_unreadable=True)
        try:
            expect(entry_of(name, status))
            with suppress(OSError):  # whoever published it has not let go of it yet; or it may not be read
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
