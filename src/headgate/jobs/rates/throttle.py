"""A rate that one job keeps, or that many jobs keep together, each in its turn.

The throttle knows the time at which all bytes that have passed will have used up the rate (`_due`). It lets more pass
up to `LEAD_SECONDS` before that time. Rate that was not used is lost, so that nothing bursts after a pause. Each job
has a `Flow`, which counts what it has had.

Rules of this file:

- Jobs that wait are served by how much they have had (start-time fair queueing, Goyal 1996), not by the size of their
  chunks: a job that yields rows gets as much as one that yields blocks. What one job does not need is left to the rest.
- Each callback of the loop serves one job that waits. If a job that was served just now has still had less than the
  next in the queue, it is given `RETURN_SECONDS` to come back with its next chunk. That never costs any of the rate.
"""

import asyncio
import heapq
import itertools
import time

__all__ = ["Flow", "Throttle"]

#: Bytes that pass at once, in seconds of the rate.
PIECE_SECONDS = 0.02

#: Bytes that may pass ahead of their time, in seconds of the rate: more than an event loop is late, so that a late loop
#: loses none of the rate.
LEAD_SECONDS = 0.03

#: Seconds that a job is given to come back to the queue with its next chunk...
RETURN_SECONDS = 0.002
#: ...as long as so many seconds of the lead are left.
SPARE_LEAD_SECONDS = LEAD_SECONDS / 2

#: What a job that was away is credited at most when it is back, in seconds of the rate: it may catch up on so much.
FLOW_CREDIT_SECONDS = 0.1


class Flow:
    """One job's part in a throttle: what it has had, in bytes of the throttle's own count."""

    __slots__ = ("had",)

    def __init__(self) -> None:
        self.had = 0.0


class Throttle:
    """`rate` bytes per second, for all jobs that acquire from it together."""

    __slots__ = ("_away", "_due", "_handle", "_number", "_queue", "_rate", "_served")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._due = time.monotonic() + LEAD_SECONDS
        self._served = 0.0  # bytes that the flow served last had had before that
        self._queue: list[tuple[float, int, Flow, int, asyncio.Future[bool]]] = []
        self._away: dict[Flow, float] = {}  # flows that were served lately and have not come back; when
        self._number = itertools.count()
        self._handle: asyncio.Handle | None = None

    @property
    def rate(self) -> int:
        """Bytes per second."""
        return self._rate

    @property
    def piece(self) -> int:
        """Bytes that may be taken at once."""
        return max(1, int(self._rate * PIECE_SECONDS))

    async def acquire(self, flow: Flow, size: int) -> bool:
        """Wait until `size` bytes of `flow` may pass, and count them. Returns False, with nothing counted, if the rate
        was changed meanwhile: then ask again. If it is cancelled, nothing is counted."""
        now = time.monotonic()
        start = max(flow.had, self._served - self._rate * FLOW_CREDIT_SECONDS)
        self._away.pop(flow, None)
        if not self._queue and self._due - LEAD_SECONDS <= now:
            self._serve(start, flow, size, now)
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (start, next(self._number), flow, size, turn))
        self._arrange(self._due - LEAD_SECONDS - now)
        return await turn

    def charge(self, flow: Flow, size: int) -> None:
        """Count `size` bytes that have passed without `acquire`: the next that is served waits until they are due."""
        self._serve(max(flow.had, self._served - self._rate * FLOW_CREDIT_SECONDS), flow, size, time.monotonic())

    def set_rate(self, rate: int) -> None:
        """Let `rate` bytes per second pass from now on. What has passed ahead of its time counts at the new rate, up to
        the lead."""
        now = time.monotonic()
        owed = max(0.0, self._due - now) * self._rate
        self._rate = rate
        self._due = now + min(owed / rate, LEAD_SECONDS)
        self.release()

    def release(self) -> None:
        """Make every waiting `acquire` return False."""
        queue, self._queue = self._queue, []
        for *_, turn in queue:
            if not turn.done():
                turn.set_result(False)

    def _serve(self, start: float, flow: Flow, size: int, now: float) -> None:
        flow.had = start + size
        self._away[flow] = now
        while now - self._away[first := next(iter(self._away))] > RETURN_SECONDS:
            del self._away[first]
        self._served = max(self._served, start)
        self._due = max(self._due, now) + size / self._rate

    def _arrange(self, delay: float) -> None:
        """Have the next turn in `delay` seconds, and no other before it."""
        if self._handle is not None:
            self._handle.cancel()
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(delay, self._turn) if delay > 0 else loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._handle = None
        now = time.monotonic()
        while self._queue and self._queue[0][-1].done():  # cancelled: its job was stopped
            heapq.heappop(self._queue)
        if not self._queue:
            return
        start, _, flow, size, turn = self._queue[0]
        delay = self._due - LEAD_SECONDS - now
        if delay <= 0 and self._due - SPARE_LEAD_SECONDS > now and self._is_expected_before(start, now):
            delay = RETURN_SECONDS
        elif delay <= 0:
            heapq.heappop(self._queue)
            self._serve(start, flow, size, now)
            turn.set_result(True)
        self._arrange(delay)

    def _is_expected_before(self, start: float, now: float) -> bool:
        """Return whether a flow that is away for a moment would be served before one that had had `start`."""
        return any(flow.had < start and now - since <= RETURN_SECONDS for flow, since in self._away.items())
