"""Is the disk fast enough to be written to in the loop? It is, while the page cache absorbs what is written.

Once too much of it is dirty the kernel makes every writer wait, so one answer serves all files of a disk. The kernel
says how much is dirty, and that is asked before it is too much. What it does not say (a busy journal, a limit of our
control group, another kernel) a slow write tells: that one has stopped the loop, and those after it go to threads.

What goes past the page cache goes to threads anyway. Whether it should go so, another answer tells.
"""

import math
import os
import time
from contextlib import suppress

__all__ = ["DirectWriteCongestion", "PageCacheCongestion"]

_VMSTAT = "/proc/vmstat"

#: Bytes of it: it has about 4,000, and what we look for comes early.
_ENOUGH = 16 * 1024


class _Congestion:
    """Is there reason to believe that the next write is fast? A slow one is a warning, which holds for a while."""

    __slots__ = ("_hold", "slow_until")

    #: Seconds from which on a write was slow.
    SLOW: float
    #: Seconds for which a warning holds: at least this, for the kernel's own accounting of dirty pages turns as fast...
    SHORTEST = 1.0
    #: ...and at most this, so that a disk that was swamped for an hour is trusted again soon after.
    LONGEST = 60.0

    def __init__(self) -> None:
        self.slow_until = 0.0  #: on the clock of ``time.perf_counter()``
        self._hold = self.SHORTEST

    def is_fast(self) -> bool:
        """May a write be trusted to be fast now?"""
        return time.perf_counter() >= self.slow_until

    def wrote(self, began: float, ended: float) -> None:
        """A write took this long. Called from any thread; the worst that a race does is a warning more or less."""
        if ended - began < self.SLOW:
            return
        if began < self.slow_until:  # it was slow and still is
            self.slow_until = max(self.slow_until, ended + self._hold)
            return
        calm = began - self.slow_until > self.LONGEST
        self._hold = self.SHORTEST if calm else min(2 * self._hold, self.LONGEST)
        self.slow_until = ended + self._hold


class DirectWriteCongestion(_Congestion):
    """How fast the disk takes bytes by itself, past the page cache.

    One write at a time of a file is all that it is given so. A disk that needs long for each, being slow, far away or
    busy, does better with many at once, which is what the page cache is for.
    """

    __slots__ = ()

    SLOW = 0.02

    def never(self) -> None:
        """It cannot be done here."""
        self.slow_until = math.inf


class PageCacheCongestion(_Congestion):
    """How fast the page cache absorbs what is written to one disk, as far as that can be told."""

    __slots__ = ("_look_at", "_vmstat")

    #: Seconds that a write may take in the loop. The page cache absorbs 256 KiB in a tenth of it.
    SLOW = 0.005
    #: Seconds between two looks at how much is dirty, which take 10 us each: a fast network fills 20 MB meanwhile.
    LOOK = 0.01
    #: How much of what may be dirty before writers have to wait we let be dirty before we stop writing in the loop.
    NEAR = 0.75

    def __init__(self) -> None:
        super().__init__()
        self._look_at = 0.0
        self._vmstat: int | None = None
        with suppress(OSError):
            self._vmstat = os.open(_VMSTAT, os.O_RDONLY | os.O_CLOEXEC)

    def is_fast(self) -> bool:
        """May a write be made in the loop now?"""
        now = time.perf_counter()
        if now >= self._look_at:
            self._look_at = now + self.LOOK
            if self._is_near():
                self.slow_until = max(self.slow_until, now + self.SHORTEST)
        return now >= self.slow_until

    def _is_near(self) -> bool:
        """Is so much dirty that writers will soon have to wait?

        They wait from half-way between the two thresholds on (Linux, mm/page-writeback.c: the freerun ceiling).
        """
        if self._vmstat is None:
            return False
        try:
            text = os.pread(self._vmstat, _ENOUGH, 0)
            dirty = _value(text, b"\nnr_dirty ") + _value(text, b"\nnr_writeback ")
            ceiling = (_value(text, b"\nnr_dirty_threshold ") + _value(text, b"\nnr_dirty_background_threshold ")) / 2
        except (OSError, ValueError):
            return False
        return dirty > self.NEAR * ceiling

    def close(self) -> None:
        if self._vmstat is not None:
            with suppress(OSError):
                os.close(self._vmstat)
            self._vmstat = None


def _value(text: bytes, name: bytes) -> int:
    """Pages. Raises ValueError."""
    start = text.index(name) + len(name)
    return int(text[start : text.index(b"\n", start)])
