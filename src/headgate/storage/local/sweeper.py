"""The sweeper: removes the staged files of processes that were killed, and partial files that have expired.

A staged file is live while a process holds its lock, however old the file is; its backup and its replacement live as
long. A partial file (`partial_file`) lives without a lock, too, until it was not written to for long. Everything else
in the staging directory that bears such a name is swept. Files with other names are not headgate's, and stay.
"""

import logging
import os
import re
import time
from contextlib import suppress

from headgate.storage.local.disk.opening import stat_or_none, unlink
from headgate.storage.local.disk.yielding import yielding
from headgate.storage.local.incoming.staged_file import lock
from headgate.storage.local.partial.stored_record import RECORD, SUFFIX

__all__ = ["sweep"]

logger = logging.getLogger("headgate.storage")

#: ``<job>.<process>.<number>``, the label of a staged file, or ``<job>.kept``, a partial file; and what follows in the
#: name of a backup, a replacement or a record.
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(?:[0-9a-f]{8}\.\d+|kept))(\.\w+)?")

#: Seconds that a process which knows of an expired partial file is given to remove it itself, and to tell its clients.
GRACE_SECONDS = 60.0


def sweep(staging: int, keep_for: float) -> int:
    """Remove what is dead from the directory `staging`; return how many staged files that were. Blocks.

    `keep_for`: seconds for which a partial file stays that is not written to.
    """
    labels: dict[str, list[str]] = {}
    with os.scandir(staging) as entries:
        for entry in yielding(entries):
            match = _NAME.fullmatch(entry.name)
            if match is not None:
                dependents = labels.setdefault(match[1], [])
                if match[2]:
                    dependents.append(entry.name)
    oldest = time.time() - keep_for - GRACE_SECONDS
    swept = 0
    for label, dependents in yielding(labels.items()):
        if label.endswith(SUFFIX) and label + RECORD in dependents and not _is_dead(staging, label, oldest):
            continue
        swept += _sweep(staging, label, dependents, oldest)
    if swept:
        logger.info("swept %d staged files of processes that have ended", swept)
    return swept


def _is_dead(staging: int, label: str, oldest: float) -> bool:
    """Return whether the partial file `label` has no record, or was not written to since `oldest`, seconds since the
    epoch. The record's time counts where there are no bytes."""
    times = []
    for name in (label + RECORD, label):
        with suppress(FileNotFoundError):
            times.append(os.stat(name, dir_fd=staging, follow_symlinks=False).st_mtime)
        if not times:
            return True
    return times[-1] < oldest


def _is_named(staging: int, label: str, fd: int) -> bool:
    """Return whether `label` is the name of the open file `fd`. While that is locked, no other file gets the name."""
    status = stat_or_none(label, staging)
    return status is not None and status.st_ino == os.fstat(fd).st_ino


def _sweep(staging: int, label: str, dependents: list[str], oldest: float) -> bool:
    """Remove `label`, and before it what is called after it, unless its writer lives. True if it was there and dead."""
    try:
        fd = os.open(label, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=staging)
    except FileNotFoundError:  # it has ended, and its dependents should have before it
        for name in dependents:
            unlink(name, staging)
        return False
    except OSError as error:
        logger.warning("the staged file %s cannot be looked at: %s", label, error)
        return False
    try:
        with suppress(BlockingIOError):
            lock(fd)
            if not _is_named(staging, label, fd):
                return False  # another sweeper removed it, and its writer has made another one since
            if label.endswith(SUFFIX) and not _is_dead(staging, label, oldest):
                return False  # it was only just begun when we looked
            for name in (*dependents, label):
                unlink(name, staging)
            return True
        return False
    finally:
        os.close(fd)
