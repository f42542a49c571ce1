"""The memory for small files, of all uploads together.

A small file stays in memory until it is whole. What a connection's own buffers take anyway is free; the bytes beyond
that come from one budget, so that many uploads at once, and slow ones, cost little memory: an upload that finds the
budget used up is staged on the disk from the beginning.
"""

__all__ = ["MemoryBudget"]

#: The largest upload, in bytes, that the budget does not count: about what a connection's own buffers take.
UNCOUNTED_BYTES = 32 * 1024

#: Bytes of memory that the small files of all uploads may take together: the bound for ten thousand clients at once,
#: and enough for dozens of photos that arrive together.
SMALL_FILE_MEMORY_BYTES = 32 * 1024 * 1024


class MemoryBudget:
    """`limit` bytes. Its methods are called on the loop."""

    def __init__(self, limit: int = SMALL_FILE_MEMORY_BYTES) -> None:
        self._free = limit

    def counts(self, size: int) -> bool:
        """Return whether an upload of `size` bytes takes any of the budget."""
        return size > UNCOUNTED_BYTES

    def has(self, size: int) -> bool:
        """Return whether an upload of `size` bytes may be kept in memory now."""
        return size <= self._free or not self.counts(size)

    def take(self, size: int) -> None:
        """Take `size` bytes, which are to be given back by `give`."""
        self._free -= size

    def give(self, size: int) -> None:
        self._free += size
