"""Removing what nobody holds any more: the staged files of a process that was killed.

A staged file is live while its writer holds its lock, in whatever process, however old it is; what is called after it
lives as long. Everything else in the staging directory that bears our kind of name is swept. Other names are not ours.
"""

import fcntl
import logging
import os
import re
from contextlib import suppress

from headgate.storage.disk import unhurried
from headgate.storage.publication import unlink

__all__ = ["sweep"]

logger = logging.getLogger("headgate.storage")

#: ``<job>.<random>.<number>``, as a stage labels its files; and what a publication calls after one.
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[0-9a-f]{8}\.\d+)(\.\w+)?")


def sweep(staging: int) -> int:
    """Remove what is dead from the directory `staging`; return how many staged files that were. Blocks."""
    labels: dict[str, list[str]] = {}
    with os.scandir(staging) as entries:
        for entry in unhurried(entries):
            match = _NAME.fullmatch(entry.name)
            if match is not None:
                dependents = labels.setdefault(match[1], [])
                if match[2]:
                    dependents.append(entry.name)
    swept = sum(_sweep(staging, label, dependents) for label, dependents in unhurried(labels.items()))
    if swept:
        logger.info("swept %d staged files that a process left behind", swept)
    return swept


def _sweep(staging: int, label: str, dependents: list[str]) -> bool:
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
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for name in (*dependents, label):
                unlink(name, staging)
            return True
        return False
    finally:
        os.close(fd)
