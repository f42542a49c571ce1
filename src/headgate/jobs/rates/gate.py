"""The gate: what every chunk of a job passes. Open, paused, or narrowed to a rate.

Rules of this room:

- The hot path looks at `open` and, mostly, goes on. Only a gate that holds something is asked.
- Nothing is moved or asked for behind a closed gate: whoever wants to move bytes asks first how many may, moves them,
  and asks again.
"""

import asyncio

from headgate.jobs.rates.throttle import Flow, Throttle

__all__ = ["Gate"]


class Gate:
    """One job's gate. Pausing it is the job's business (`Job.pause`): a pause is a state."""

    __slots__ = ("_own", "_resumed", "_throttles", "open")

    def __init__(self) -> None:
        #: True if nothing holds the job's bytes. The hot path: one look a chunk.
        self.open = True
        self._own: Throttle | None = None
        self._throttles: tuple[tuple[Throttle, Flow], ...] = ()
        self._resumed: asyncio.Event | None = None  # while it is paused

    def join(self, *throttles: Throttle) -> None:
        """Keep the rates of `throttles` together with others."""
        self._throttles += tuple((throttle, Flow()) for throttle in throttles)
        self._look()

    @property
    def rate(self) -> int | None:
        """The job's own limit, bytes per second; None where it has none."""
        return None if self._own is None else self._own.rate

    def narrow(self, rate: int | None) -> None:
        """Let `rate` bytes per second pass, from now on; None: as many as come."""
        own = self._own
        if own is None and rate is not None:
            self._own = Throttle(rate)
            self._throttles = ((self._own, Flow()), *self._throttles)
        elif own is not None and rate is not None:
            own.change(rate)
        elif own is not None:
            self._own = None
            self._throttles = self._throttles[1:]
            own.release()
        self._look()

    def pause(self) -> None:
        """Let nothing pass."""
        self._resumed = self._resumed or asyncio.Event()
        self._look()

    def resume(self) -> None:
        """Let bytes pass again."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None
        self._look()

    def _look(self) -> None:
        self.open = self._resumed is None and not self._throttles

    @property
    def paused(self) -> bool:
        """Does nothing pass, whatever has been paid for?"""
        return self._resumed is not None

    async def opened(self) -> None:
        """Wait while the gate is paused. When this returns it is not, until the caller's next ``await``."""
        while self._resumed is not None:
            await self._resumed.wait()

    async def wait(self, size: int) -> int:
        """Wait until bytes may pass; return how many, at least 1 and at most `size`. They count as passed."""
        while True:
            await self.opened()
            throttles = self._throttles
            piece = min((throttle.piece for throttle, _ in throttles), default=size)
            piece = min(piece, size)
            for throttle, share in throttles:
                if not await throttle.take(share, piece):
                    break  # the rate is another by now
            else:
                if self._resumed is None:
                    return piece

    def charge(self, size: int) -> None:
        """Count `size` bytes that have passed without being asked for."""
        for throttle, share in self._throttles:
            throttle.charge(share, size)

    async def pay(self, size: int) -> None:
        """Wait until `size` bytes may pass, all of them at once."""
        while size:
            size -= await self.wait(size)
