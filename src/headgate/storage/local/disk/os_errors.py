"""The one place where errors of the operating system become those that the storage contract names."""

import errno
from types import TracebackType

from headgate.errors import Busy, StorageFailed, StorageFull

__all__ = ["translate_os_errors"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BUSY = frozenset({errno.EMFILE, errno.ENFILE})


class translate_os_errors:  # noqa: N801 - it reads as what the block below it does
    """A context manager: an OSError leaves it as StorageFull, Busy or StorageFailed, with the original as the cause."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, OSError):
            if error.errno in _BUSY:
                raise Busy("The server has no descriptor left for another file.") from error
            raise (StorageFull if error.errno in _FULL else StorageFailed) from error
