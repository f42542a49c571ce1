"""Where an export is written: a hidden file beside the target, which gets the target's name when it is complete.

Rules of this file:

- When the connection breaks, what has arrived stays, if the server gave the file an entity tag. The hidden file's name
  says which server, file and target it is for, and the tag. The next export of the same continues it with If-Range
  (RFC 9110, 13.1.5).
- The process that writes a hidden file holds a lock on it; another process meanwhile writes one of its own.
- A hidden file that was not continued within a day is removed by the next export into the same directory.
"""

import fcntl
import hashlib
import os
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path

from headgate.cli.client.remote_job import LocalError

__all__ = ["PartialDownload"]

#: Seconds for which an incomplete export is kept: as long as a server keeps a resumable upload by default.
PARTIAL_EXPIRY_SECONDS = 24 * 3600.0

#: The longest entity tag, in characters of base64, for which the hidden file's name has room.
MAX_TAG_CHARACTERS = 120

_PREFIX = ".headgate-"
_SUFFIX = ".part"


class PartialDownload:
    """The export of `name` from the server at `url` into the file `target`.

    It takes up an incomplete one, if there is any. All methods block shortly, and raise LocalError.
    """

    def __init__(self, url: str, name: str, target: Path, *, force: bool) -> None:
        if target.exists() and not force:
            raise LocalError(f"{target} is there already; --force replaces it.")
        self._target = target
        self._force = force
        key = "\n".join((url, name, str(target.absolute())))
        self._stem = _PREFIX + hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:16]
        self._fd = -1
        self._path: Path | None = None
        #: The entity tag of what has arrived, and its bytes.
        self.etag: str | None = None
        self.size = 0
        self._remove_old_ones()
        self._take_up()

    def _take_up(self) -> None:
        """Open the largest hidden file of this export that no other process has locked."""
        found = [path for path in self._beside() if path.name.startswith(self._stem + ".")]
        for path in sorted(found, key=_size, reverse=True):
            etag = _etag_of(path.name)
            if etag is None:
                continue
            with suppress(OSError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if not os.fstat(fd).st_nlink:
                        raise FileNotFoundError
                except OSError:
                    os.close(fd)
                    raise
                self._fd, self._path, self.etag, self.size = fd, path, etag, os.lseek(fd, 0, os.SEEK_END)
                return

    def begin(self, etag: str | None) -> None:
        """Begin a new hidden file, for all bytes of a file with the entity tag `etag` (None: without); drop the old
        one."""
        self.discard()
        tag = "" if etag is None else urlsafe_b64encode(etag.encode(errors="replace")).decode().rstrip("=")
        self.etag = etag if tag and len(tag) <= MAX_TAG_CHARACTERS else None
        name = f"{self._stem}.{tag if self.etag else ''}.{secrets.token_hex(4)}{_SUFFIX}"
        path = self._target.parent / name
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LocalError(f"{self._target} cannot be written: {error.strerror}") from error
        self._path, self.size = path, 0

    def write(self, data: bytes) -> None:
        """Append `data`. Blocks."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            raise LocalError(f"{self._target} cannot be written: {error.strerror}") from error
        self.size += len(data)

    def publish(self) -> None:
        """Give the complete file the target's name."""
        assert self._path is not None
        try:
            if self._force:
                os.replace(self._path, self._target)
            else:
                os.link(self._path, self._target)  # unlike a rename, a link fails if the name has been taken meanwhile
        except FileExistsError:
            raise LocalError(f"{self._target} is there already; --force replaces it.") from None
        except OSError as error:
            raise LocalError(f"{self._target} cannot be written: {error.strerror}") from error
        finally:
            self.discard()

    def leave(self) -> None:
        """The connection broke: keep what has arrived for the next export, if it has an entity tag."""
        if self.etag is None or not self.size:
            self.discard()
        elif self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Remove the hidden file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                assert self._path is not None
                os.unlink(self._path)
            os.close(fd)

    def _beside(self) -> list[Path]:
        with suppress(OSError):
            return [path for path in self._target.parent.iterdir() if path.name.endswith(_SUFFIX)]
        return []

    def _remove_old_ones(self) -> None:
        for path in self._beside():
            if not path.name.startswith(_PREFIX):
                continue
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > PARTIAL_EXPIRY_SECONDS:
                    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
                    try:
                        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        path.unlink()
                    finally:
                        os.close(fd)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0


def _etag_of(name: str) -> str | None:
    parts = name.split(".")
    tag = parts[2] if len(parts) == 5 else ""
    with suppress(ValueError):
        return urlsafe_b64decode(tag + "=" * (-len(tag) % 4)).decode() or None
    return None
