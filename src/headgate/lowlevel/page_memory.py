"""Memory that a disk can take bytes from by itself (O_DIRECT): it begins at a page. Knows nothing of headgate."""

import ctypes

__all__ = ["PAGE", "Data", "address", "aligned", "find", "fits"]

#: Bytes of a page: what disks and file systems want memory, offsets and sizes to be multiples of.
PAGE = 4096

#: Bytes on their way. A memoryview is a part of memory that will be used again.
Data = bytes | memoryview


def aligned(size: int) -> memoryview:
    """So many bytes of memory, from the beginning of a page on. Of a bytearray, which can be searched fast."""
    array = bytearray(size + PAGE)
    start = -address(array) % PAGE
    return memoryview(array)[start : start + size]


def address(memory: bytearray | memoryview) -> int:
    """Where `memory` begins, which is not empty and can be written to."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def fits(data: Data, offset: int) -> bool:
    """Can a disk take the pages of `data` by itself, if it is written at `offset` of a file?"""
    return isinstance(data, memoryview) and not data.readonly and (address(data) - offset) % PAGE == 0


def find(data: Data, wanted: bytes) -> int:
    """Where in `data` the first `wanted` is, or -1. A memoryview must be of a bytearray."""
    if isinstance(data, bytes):
        return data.find(wanted)
    array = data.obj
    assert isinstance(array, bytearray)
    start = address(data) - address(array)
    found = array.find(wanted, start, start + len(data))
    return found - start if found >= 0 else -1
