"""Memory from which a disk can take bytes by itself (O_DIRECT), and a buffer in which a file lies as in its pages.

A disk takes bytes past the page cache only where the memory, the offset in the file and the size are multiples of a
page. A `PageBuffer` therefore receives each byte of a file at the place in a page of memory that it will have in a page
of the file. Its owner, the parser of a body, knows where in a file the next byte belongs; the reader of the connection
only fills it. Neither has to tell the other.

Rules of this file:

- Nothing is copied but the few bytes that the parser has to see again, and whatever came by another way.
- A memoryview that `take` returned stays valid until the second `begin` after that.
- Blocks go from one buffer to the next. One that a memoryview still refers to waits until that is gone.
"""

import ctypes

__all__ = ["PAGE", "Data", "PageBuffer", "address", "aligned", "find", "fits"]

#: Bytes of a page: what disks and file systems want memory, offsets and sizes to be multiples of.
PAGE = 4096

#: Spare blocks that are kept beyond the number of blocks in use: enough for two buffers. New memory for a block costs
#: as much as receiving half a block, because the kernel has to clear it.
SPARE_BLOCKS = 4

#: Bytes on their way. A memoryview is a part of memory that will be used again.
Data = bytes | memoryview


class PageBuffer:
    """What comes of one file after the other, handed out in order.

    The parser, which owns the buffer, calls `begin_file` and `keep`. The reader, which fills it, has bytes that came by
    another way handed out (`hand_out`); while the buffer has blocks, the reader receives straight into them: `begin`,
    then `room` and `received` as often as bytes come, then `take`. Two blocks take turns, so that what was taken last
    may still be on its way to the disk while more is received.
    """

    __slots__ = ("_blocks", "_end", "_filling", "_first", "_first_new", "kept", "offset")

    def __init__(self) -> None:
        #: Where in the file the next byte that is handed out belongs.
        self.offset = 0
        #: What was handed out last and is handed out again, before what comes next.
        self.kept = b""
        self._blocks: list[memoryview] = []  # the first is filled next
        self._filling: memoryview | None = None
        self._first = self._first_new = self._end = 0  # in the block that is filled

    # For the parser.

    def begin_file(self, offset: int = 0, *, before: bytes = b"") -> None:
        """What comes next belongs at `offset` of another file. `before`: bytes that the parser is to see before it."""
        self.kept = before
        self.offset = offset - len(before)

    def keep(self, tail: bytes) -> None:
        """The parser cannot tell yet what `tail`, the end of what was handed out last, is: it is to see it again."""
        self.kept = tail
        self.offset -= len(tail)

    # For the reader.

    def hand_out(self, data: bytes) -> bytes:
        """What was kept, and `data` after it."""
        if self.kept:
            data = self.kept + data
            self.kept = b""
        self.offset += len(data)
        return data

    @property
    def has_blocks(self) -> bool:
        return bool(self._blocks)

    def allocate(self, size: int) -> None:
        """Have two blocks of `size` bytes each, a multiple of a page."""
        self._blocks = [_take_block(size), _take_block(size)]

    def release(self) -> None:
        """Have no blocks any more, but for the one that is being filled."""
        for block in self._blocks:
            _give_block(block)
        self._blocks = []

    @property
    def is_filling(self) -> bool:
        """Has a block been begun and not been taken?"""
        return self._filling is not None

    def begin(self) -> None:
        """Begin to fill the other block than the last time."""
        self._blocks.reverse()
        self._filling = self._blocks[0]
        self._first = self.offset % PAGE
        self._first_new = self._end = self._first + len(self.kept)
        self._filling[self._first : self._end] = self.kept

    def room(self, most: int) -> memoryview:
        """Up to `most` bytes of the block that is filled, to receive into; none if it is full."""
        assert self._filling is not None
        return self._filling[self._end : self._end + most]

    def received(self, size: int) -> None:
        """So many bytes have been received into the `room`."""
        self._end += size

    @property
    def is_full(self) -> bool:
        return self._filling is not None and self._end == len(self._filling)

    @property
    def has_received(self) -> bool:
        """Has anything come since the block was begun?"""
        return self._end > self._first_new

    def take(self) -> Data:
        """Hand out what was kept and received, as a part of the block, or as bytes of their own if it is released."""
        block, self._filling = self._filling, None
        assert block is not None
        data = block[self._first : self._end]
        self.kept = b""
        self.offset += len(data)
        return data if self._blocks else bytes(data)

    def give_up(self) -> bytes:
        """Stop filling; what has been received meanwhile, without what was kept."""
        block, self._filling = self._filling, None
        return b"" if block is None else bytes(block[self._first_new : self._end])


#: Blocks that had an owner and wait for the next; some bytes of them may still be on their way to a disk. And how many
#: blocks have owners.
_spare: list[bytearray] = []
_owned = 0


def _take_block(size: int) -> memoryview:
    """A spare block that nothing refers to any more, or a new one."""
    global _owned  # noqa: PLW0603 - all buffers of the process share the spare blocks
    _owned += 1
    for index, array in enumerate(_spare):
        if len(array) == size + PAGE and not _is_referred_to(array):
            del _spare[index]
            return _from_page(array)
    return aligned(size)


def _give_block(block: memoryview) -> None:
    global _owned  # noqa: PLW0603 - as above
    _owned -= 1
    array = block.obj
    assert isinstance(array, bytearray)
    _spare.append(array)
    del _spare[: -(_owned + SPARE_BLOCKS)]


def _is_referred_to(array: bytearray) -> bool:
    """Is there a memoryview of it? As long as there is, its size cannot change (BufferError)."""
    try:
        array.append(array.pop())
    except BufferError:
        return True
    return False


def aligned(size: int) -> memoryview:
    """So many bytes of memory, from the beginning of a page on. They are a bytearray's, which can be searched fast."""
    return _from_page(bytearray(size + PAGE))


def _from_page(array: bytearray) -> memoryview:
    """`array` from the beginning of a page on, without the page that it has to spare."""
    start = -address(array) % PAGE
    return memoryview(array)[start : start + len(array) - PAGE]


def address(memory: bytearray | memoryview) -> int:
    """Where `memory`, which is not empty and can be written to, begins."""
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
