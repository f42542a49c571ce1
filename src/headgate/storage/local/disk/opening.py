"""How files of the two directories are looked at, opened and removed: always relative to a directory's descriptor."""

import errno
import logging
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime

from headgate.storage.entry import Entry

__all__ = ["STAGING", "close_quietly", "entry_of", "open_own", "open_staging", "stat_or_none", "unlink"]

logger = logging.getLogger("headgate.storage")

#: The directory below the root in which files are that are not published yet.
STAGING = ".staging"

#: The times that HTTP and JSON can say: years of four digits.
_EARLIEST = datetime(1000, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def entry_of(name: str, status: os.stat_result) -> Entry:
    """The file `name` with `status` as an entry. Its entity tag is another when its content is: a replacement is
    another inode, and writing into a file by hand changes its time."""
    etag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    seconds = min(max(status.st_mtime, _EARLIEST), _LATEST)  # a file system takes any time
    return Entry(name, status.st_size, datetime.fromtimestamp(seconds, UTC), etag)


def stat_or_none(name: str, directory: int) -> os.stat_result | None:
    """The status of `name` in `directory`, be it a file or not, without following a link; None if there is nothing.
    Raises OSError. Blocks."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def open_staging(root: int) -> int:
    """A descriptor of the staging directory below `root`. Raises OSError if it is no directory, or if another user may
    write there, who could put something in it for this process to open. Blocks."""
    fd = os.open(STAGING, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=root)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.stat("/proc/self").st_uid or status.st_mode & 0o022:
            raise OSError(errno.EPERM, f"{STAGING} in it is another user's, or others may write there")
    except BaseException:
        close_quietly(fd)
        raise
    return fd


def open_own(label: str, flags: int, directory: int) -> int:
    """Open the regular file `label` of the staging directory `directory`, and return its descriptor. Anything else of
    that name counts as absent; the writer of a FIFO is not waited for. Raises OSError. Blocks."""
    try:
        fd = os.open(label, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise FileNotFoundError(errno.ENOENT, "not a regular file") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file")
    except BaseException:
        close_quietly(fd)
        raise
    return fd


def close_quietly(fd: int) -> None:
    """Close `fd`. An error is dropped: the descriptor is closed even then."""
    with suppress(OSError):
        os.close(fd)


def unlink(label: str, directory: int) -> None:
    """Remove a name from the staging directory, if it is there. Never raises."""
    try:
        os.unlink(label, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:  # the caller has an outcome already; the sweeper will try again
        logger.error("the staged file %s could not be removed: %s", label, error)
