"""Whether the disk is fast enough to be written to on the event loop.

It is while the page cache absorbs what is written. Once too much of the cache is dirty the kernel makes every writer
wait, so one answer serves all files of a disk. The kernel says how much is dirty, and is asked before it is too much.
What it does not say (a busy journal, a limit of the control group) shows in a slow write: that one has stopped the
loop, and the next ones go to threads, for longer each time.

Writes past the page cache are made by threads anyway; a second answer tells whether the disk is fast enough for them.
"""

import math
import os
import time
from contextlib import suppress

__all__ = ["DirectWriteCongestion", "PageCacheCongestion"]

_VMSTAT = "/proc/vmstat"

#: Bytes of it that are read: it has about 4,000, and the lines that count come early.
_VMSTAT_BYTES = 16 * 1024


class _Congestion:
    """Whether the next write is expected to be fast: not for a while after a slow one."""

    __slots__ = ("_hold", "slow_until")

    #: Seconds from which on a write was slow.
    SLOW_SECONDS: float
    #: Seconds for which a slow write counts: at least this, since the kernel looks at its dirty pages about as
    #: often...
    MIN_HOLD_SECONDS = 1.0
    #: ...and at most this, so that a disk that was swamped for an hour is trusted again soon after.
    MAX_HOLD_SECONDS = 60.0

    def __init__(self) -> None:
        self.slow_until = 0.0  #: on the clock of ``time.perf_counter()``
        self._hold = self.MIN_HOLD_SECONDS

    def is_fast(self) -> bool:
        """Return whether the next write is expected to be fast."""
        return time.perf_counter() >= self.slow_until

    def wrote(self, began: float, ended: float) -> None:
        """A write took from `began` to `ended`. May be called from any thread: a race costs one hold more or less."""
        if ended - began < self.SLOW_SECONDS:
            return
        if began < self.slow_until:  # it was slow and still is
            self.slow_until = max(self.slow_until, ended + self._hold)
            return
        calm = began - self.slow_until > self.MAX_HOLD_SECONDS
        self._hold = self.MIN_HOLD_SECONDS if calm else min(2 * self._hold, self.MAX_HOLD_SECONDS)
        self.slow_until = ended + self._hold


class DirectWriteCongestion(_Congestion):
    """Whether the disk takes bytes fast past the page cache.

    Of each file it is given one write at a time in that way. A disk that needs long for each, being slow, far away or
    busy, does better with many at once, which is what the page cache is for.
    """

    __slots__ = ()

    SLOW_SECONDS = 0.02

    def never(self) -> None:
        """Writes past the page cache are not possible here."""
        self.slow_until = math.inf


class PageCacheCongestion(_Congestion):
    """Whether the page cache absorbs what is written to one disk, as far as can be told."""

    __slots__ = ("_look_at", "_vmstat")

    #: Seconds that a write may take in the loop. The page cache absorbs 256 KiB in a tenth of it.
    SLOW_SECONDS = 0.005
    #: Seconds between two looks at how much is dirty, which take 10 us each: a fast network fills 20 MB meanwhile.
    LOOK_SECONDS = 0.01
    #: The fraction of the dirty pages that the kernel allows before it makes writers wait; above it, the loop writes no
    #: more.
    NEAR_FRACTION = 0.75

    def __init__(self) -> None:
        super().__init__()
        self._look_at = 0.0
        self._vmstat: int | None = None
        with suppress(OSError):
            self._vmstat = os.open(_VMSTAT, os.O_RDONLY | os.O_CLOEXEC)

    def is_fast(self) -> bool:
        """Return whether a write may be made on the loop now."""
        now = time.perf_counter()
        if now >= self._look_at:
            self._look_at = now + self.LOOK_SECONDS
            if self._is_near():
                self.slow_until = max(self.slow_until, now + self.MIN_HOLD_SECONDS)
        return now >= self.slow_until

    def _is_near(self) -> bool:
        """Return whether so much is dirty that writers will soon have to wait.

        They wait from half-way between the two thresholds on (Linux, mm/page-writeback.c: the freerun ceiling).
        """
        if self._vmstat is None:
            return False
        try:
            text = os.pread(self._vmstat, _VMSTAT_BYTES, 0)
            dirty = _value(text, b"\nnr_dirty ") + _value(text, b"\nnr_writeback ")
            ceiling = (_value(text, b"\nnr_dirty_threshold ") + _value(text, b"\nnr_dirty_background_threshold ")) / 2
        except (OSError, ValueError):
            return False
        return dirty > self.NEAR_FRACTION * ceiling

    def close(self) -> None:
        if self._vmstat is not None:
            with suppress(OSError):
                os.close(self._vmstat)
            self._vmstat = None


def _value(text: bytes, name: bytes) -> int:
    """The number of pages after `name` in `text`. Raises ValueError."""
    start = text.index(name) + len(name)
    return int(text[start : text.index(b"\n", start)])
