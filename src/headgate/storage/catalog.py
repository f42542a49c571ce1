"""What is published in a directory: listing it, and removing from it. Blocks; runs in threads.

A name that nobody could ask for (`check_name` refuses it) and what is no regular file are not published, whoever put
them here.
"""

import fcntl
import heapq
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from operator import itemgetter
from secrets import token_hex
from typing import TypeVar
from uuid import uuid4

from headgate.errors import InvalidName
from headgate.names import check_name
from headgate.storage.census import owner_of
from headgate.storage.disk import Disk, entry_of, mapped, unhurried, unlink
from headgate.storage.entry import Entry, Expect, Order, Place
from headgate.storage.ledger import Possession, Possessions
from headgate.storage.source import open_published

__all__ = ["list_published", "look", "remove"]

T = TypeVar("T")


def look(disk: Disk, name: str) -> Entry | None:
    """What is published as `name`, if anything is. Raises StorageFailed."""
    with mapped():
        try:
            status = os.stat(name, dir_fd=disk.root, follow_symlinks=False)
        except FileNotFoundError:
            return None
    return entry_of(name, status) if stat.S_ISREG(status.st_mode) else None


def list_published(disk: Disk, after: Place | None, most: int, order: Order, *, descending: bool) -> list[Entry]:
    """Up to `most` published files in `order` that come after the place `after`. Raises StorageFailed."""
    if order is not Order.NAME:  # then every one has to be looked at
        return [entry for entry, _ in _first(_entries(disk, order), after, most, descending=descending)]
    listed: list[Entry] = []
    while len(listed) < most:  # again if some were gone before they were looked at: fewer must mean no more
        wanted = most - len(listed)
        names = [place[1].decode() for _, place in _first(_names(disk), after, wanted, descending=descending)]
        listed += [entry for name in unhurried(names) if (entry := look(disk, name)) is not None]
        if len(names) < wanted:
            break
        after = (0, names[-1].encode())
    return listed


def _first(
    things: Iterable[tuple[T, Place]], after: Place | None, most: int, *, descending: bool
) -> list[tuple[T, Place]]:
    """The first `most` of `things` after the place `after`."""
    some = (each for each in things if after is None or (each[1] < after if descending else each[1] > after))
    choose = heapq.nlargest if descending else heapq.nsmallest
    return choose(most, some, key=itemgetter(1))


def _names(disk: Disk) -> Iterator[tuple[None, Place]]:
    with mapped(), os.scandir(disk.root) as entries:
        for entry in unhurried(entries):
            with suppress(InvalidName):
                if entry.is_file(follow_symlinks=False):
                    yield None, (0, check_name(entry.name).encode())


def _entries(disk: Disk, order: Order) -> Iterator[tuple[Entry, Place]]:
    for _, (_, name) in _names(disk):
        entry = look(disk, name.decode())
        if entry is not None:
            yield entry, order.place(entry)


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
