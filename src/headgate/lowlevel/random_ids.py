"""Random ids for jobs (UUID version 4; RFC 9562, 5.4), from random bytes that are asked for many at a time.

One call of the kernel costs as much as several steps of a small upload.
"""

import os
from uuid import UUID

__all__ = ["new_id"]

#: Bytes of one id...
ID_BYTES = 16
#: ...and of those that are asked for at once.
STOCK_BYTES = 256 * ID_BYTES

_stock = bytearray()


def new_id() -> UUID:
    """An id that no other job has, in this process or in any other."""
    if not _stock:
        _stock.extend(os.urandom(STOCK_BYTES))
    taken = bytes(_stock[-ID_BYTES:])
    del _stock[-ID_BYTES:]
    return UUID(bytes=taken, version=4)


os.register_at_fork(after_in_child=_stock.clear)  # or both would hand out the same
