"""The owner of each published file, and the bytes that each owner has. The files carry it; there is no separate list.

A file's owner stands in an extended attribute of it. File systems without such attributes cannot keep a quota per
owner; everything else works on them.
"""

import errno
import hashlib
import os
import stat
from contextlib import suppress

from headgate.storage.local.disk.yielding import yielding
from headgate.storage.quota import Census, Possession

__all__ = ["owner_of", "record_owner", "stored_owner", "take_census"]

OWNER = "user.headgate.owner"

#: Bytes of an owner's name that are stored; of a longer name its digest is. ext4 keeps all attributes in 4 KiB at most.
MAX_OWNER_BYTES = 255

_NONE = frozenset({errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.EPERM, errno.EACCES, errno.ELOOP})


def record_owner(fd: int, owner: str) -> None:
    """Write down that the open file `fd` is of `owner`, as `stored_owner` has them. Raises OSError. Blocks."""
    os.setxattr(fd, OWNER, owner.encode(errors="surrogateescape"))


def stored_owner(owner: str) -> str:
    """`owner` as an extended attribute can have it: unchanged if it is not too long, else its digest."""
    raw = owner.encode(errors="surrogateescape")
    return owner if len(raw) <= MAX_OWNER_BYTES else f"sha256:{hashlib.sha256(raw).hexdigest()}"


def owner_of(directory: int, name: str) -> str | None:
    """Whose the file `name` is, as far as that was written down. Raises OSError. Blocks."""
    try:
        # There is no getxattr relative to a descriptor, and opening the file would need the right to read it.
        raw = os.getxattr(f"/proc/self/fd/{directory}/{name}", OWNER, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise
    return raw.decode(errors="surrogateescape")


def take_census(directory: int) -> Census:
    """Count the published files in `directory`. Raises OSError. Blocks, for a few seconds where there are 100,000."""
    census = Census()
    with os.scandir(directory) as entries:
        for entry in yielding(entries):
            with suppress(FileNotFoundError):  # gone meanwhile
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    census.add(status.st_ino, Possession(owner_of(directory, entry.name), status.st_size))
    return census
