"""How long the machine itself stood still: a virtual one loses its processors to others now and then, and no program on
it can help that.

How to use it: ``async with machine() as stood``, and afterwards ``stood.during(begin, end)``.

One process on each processor, above everything else that runs there (SCHED_FIFO), wakes every millisecond and does
nothing but tell when it was not woken. Only the superuser may run such a one; without, nothing is seen, and everything
counts as the fault of whoever is measured.
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

#: Seconds between two looks at the clock; what is shorter nobody needs to know.
TICK = 0.001

#: Looks after which one sees whether whoever asked is still there.
_NOW_AND_THEN = 1000


@dataclass
class Stood:
    """When a processor stood still: begins and ends on the clock of ``time.perf_counter()``, which all processes share.
    Complete when `machine` has been left."""

    moments: list[tuple[float, float]] = field(default_factory=list)
    seen: bool = False  #: could it be seen at all?

    def during(self, begin: float, end: float) -> float:
        """Seconds of that time in which some processor stood still."""
        seconds, until = 0.0, begin
        for came, went in sorted(self.moments):
            if came < end and went > until:
                seconds += min(went, end) - max(came, until)
                until = min(went, end)
        return seconds

    def __str__(self) -> str:
        if not self.seen:
            return "the machine's own stalls unknown"
        longest = max((went - came for came, went in self.moments), default=0.0)
        return f"the machine's own longest {longest * 1000:.1f} ms"


@asynccontextmanager
async def machine() -> AsyncIterator[Stood]:
    """Watchdog every processor while the block runs."""
    watchers = [
        await asyncio.create_subprocess_exec(sys.executable, __file__, str(each), stdout=asyncio.subprocess.PIPE)
        for each in os.sched_getaffinity(0)
    ]
    stood = Stood(seen=all([await watcher.stdout.readline() for watcher in watchers]))
    try:
        yield stood
    finally:
        for watcher in watchers:
            with suppress(ProcessLookupError):
                watcher.kill()
            for line in (await watcher.communicate())[0].splitlines(keepends=True):
                if line.endswith(b"\n"):  # it may have been killed while it wrote
                    came, went = map(float, line.split())
                    stood.moments.append((came, went))


def _watch(processor: int) -> None:
    """Print when this processor stood still, until the parent is gone."""
    parent = os.getppid()
    os.sched_setaffinity(0, {processor})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))
    except PermissionError:
        return
    gc.disable()
    print("ready", flush=True)
    while os.getppid() == parent:
        for _ in range(_NOW_AND_THEN):
            due = time.perf_counter() + TICK
            time.sleep(TICK)
            now = time.perf_counter()
            if now - due > TICK:
                print(due, now, flush=True)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        _watch(int(sys.argv[1]))
