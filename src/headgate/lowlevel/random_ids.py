"""Random ids for jobs (UUID version 4; RFC 9562, 5.4), from random bytes that are asked for many at a time.

Each time the kernel is asked for some costs as much as several of the steps of a small upload.
"""

import os
from uuid import UUID

__all__ = ["new_id"]

#: Bytes of one id...
SIZE = 16
#: ...and of those that are asked for at once.
STOCK = 256 * SIZE

_stock = bytearray()


def new_id() -> UUID:
    """An id that no other job has, in this process or in any other."""
    if not _stock:
        _stock.extend(os.urandom(STOCK))
    taken = bytes(_stock[-SIZE:])
    del _stock[-SIZE:]
    return UUID(bytes=taken, version=4)


os.register_at_fork(after_in_child=_stock.clear)  # or both would hand out the same
