"""A rate that one job keeps, or that many keep together, each in its turn.

Rules of this room:

- Bytes are paid for as they pass: the throttle knows when all that has passed will have been worth its time (`_due`),
  and lets more pass up to `LEAD` before that. What was not used is lost, so nothing bursts after a pause.
- Whoever has to wait is served by how much it has had (start-time fair queueing, Goyal 1996), not by how large its
  chunks are: a job that yields rows gets as much as one that yields blocks. Who needs less than its share leaves the
  rest to the others.
- One call of the loop serves one job, and one that is behind the next in the queue is given a moment to come back to
  it: small chunks come one after the other, with a turn of the loop between them. It never costs any of the rate.
"""

import asyncio
import heapq
import itertools
import time

__all__ = ["Flow", "Throttle"]

#: Seconds' worth of bytes that pass at once.
PIECE = 0.02

#: Seconds' worth of bytes that may pass ahead of their time: more than a loop is late, so that it loses nothing by it.
LEAD = 0.03

#: Seconds that a job is given to come back to the queue with its next chunk...
MOMENT = 0.002
#: ...as long as so many of the lead are left.
SPARE = LEAD / 2

#: Seconds' worth of bytes by which a job that was away is preferred when it is back: what it did not take meanwhile,
#: but no more than that.
GRACE = 0.1


class Flow:
    """One job's part in a throttle: how much it has had, in bytes of the throttle's own count."""

    __slots__ = ("had",)

    def __init__(self) -> None:
        self.had = 0.0


class Throttle:
    """`rate` bytes per second, for everybody who takes from it together."""

    __slots__ = ("_away", "_due", "_handle", "_number", "_queue", "_rate", "_served")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._due = time.monotonic() + LEAD
        self._served = 0.0  # how much the job had had that was served last
        self._queue: list[tuple[float, int, Flow, int, asyncio.Future[bool]]] = []
        self._away: dict[Flow, float] = {}  # who was served lately and has not come back yet; and when
        self._number = itertools.count()
        self._handle: asyncio.Handle | None = None

    @property
    def rate(self) -> int:
        """Bytes per second."""
        return self._rate

    @property
    def piece(self) -> int:
        """Bytes that may be taken at once."""
        return max(1, int(self._rate * PIECE))

    async def take(self, share: Flow, size: int) -> bool:
        """Wait until `size` bytes may pass, and count them. False, and nothing is counted, if the rate was changed
        meanwhile: ask again."""
        now = time.monotonic()
        start = max(share.had, self._served - self._rate * GRACE)
        self._away.pop(share, None)
        if not self._queue and self._due - LEAD <= now:
            self._serve(start, share, size, now)
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (start, next(self._number), share, size, turn))
        self._arrange(self._due - LEAD - now)
        return await turn

    def charge(self, share: Flow, size: int) -> None:
        """Count `size` bytes that have passed without being asked for: who takes next waits until they are paid for."""
        self._serve(max(share.had, self._served - self._rate * GRACE), share, size, time.monotonic())

    def change(self, rate: int) -> None:
        """From now on, `rate` bytes per second. What has passed already is paid for at the new rate, up to the lead."""
        now = time.monotonic()
        owed = max(0.0, self._due - now) * self._rate
        self._rate = rate
        self._due = now + min(owed / rate, LEAD)
        self.release()

    def release(self) -> None:
        """Let everybody who waits ask again."""
        queue, self._queue = self._queue, []
        for *_, turn in queue:
            if not turn.done():
                turn.set_result(False)

    def _serve(self, start: float, share: Flow, size: int, now: float) -> None:
        share.had = start + size
        self._away[share] = now
        while now - self._away[first := next(iter(self._away))] > MOMENT:
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
        while self._queue and self._queue[0][-1].done():  # its job was stopped
            heapq.heappop(self._queue)
        if not self._queue:
            return
        start, _, share, size, turn = self._queue[0]
        delay = self._due - LEAD - now
        if delay <= 0 and self._due - SPARE > now and self._is_expected_before(start, now):
            delay = MOMENT
        elif delay <= 0:
            heapq.heappop(self._queue)
            self._serve(start, share, size, now)
            turn.set_result(True)
        self._arrange(delay)

    def _is_expected_before(self, start: float, now: float) -> bool:
        """Is anybody away, for a moment, who would be served before `start`?"""
        return any(share.had < start and now - since <= MOMENT for share, since in self._away.items())
