"""The gate: what every chunk of a job passes. It is open, or paused, or lets a limited rate pass.

A limited gate asks its throttles: the job's own limit, and the rates that the job keeps together with others.

Rules of this file:

- The transfer looks at `open` once a chunk and, mostly, goes on. Only where it is False does the transfer ask how many
  bytes may pass (`acquire`), moves so many, and asks again.
- While the gate is paused, nothing is moved and nothing new is asked of a client or of a storage.
"""

import asyncio

from headgate.jobs.rates.throttle import Flow, Throttle

__all__ = ["Gate"]


class Gate:
    """One job's gate. To pause a job, call `Job.pause`: a pause is a state of the job."""

    __slots__ = ("_own", "_resumed", "_throttles", "open")

    def __init__(self) -> None:
        #: True if nothing holds the job's bytes. The hot path: one look a chunk.
        self.open = True
        self._own: Throttle | None = None
        self._throttles: tuple[tuple[Throttle, Flow], ...] = ()
        self._resumed: asyncio.Event | None = None  # while it is paused

    def join(self, *throttles: Throttle) -> None:
        """Have the job's bytes pass `throttles`, too, which other jobs pass."""
        self._throttles += tuple((throttle, Flow()) for throttle in throttles)
        self._update()

    @property
    def rate(self) -> int | None:
        """The job's own limit in bytes per second; None where it has none."""
        return None if self._own is None else self._own.rate

    def set_rate(self, rate: int | None) -> None:
        """Let at most `rate` bytes per second pass from now on; None: as many as come."""
        own = self._own
        if own is None and rate is not None:
            self._own = Throttle(rate)
            self._throttles = ((self._own, Flow()), *self._throttles)
        elif own is not None and rate is not None:
            own.set_rate(rate)
        elif own is not None:
            self._own = None
            self._throttles = self._throttles[1:]
            own.release()
        self._update()

    def pause(self) -> None:
        """Let nothing pass."""
        self._resumed = self._resumed or asyncio.Event()
        self._update()

    def resume(self) -> None:
        """Let bytes pass again."""
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None
        self._update()

    def _update(self) -> None:
        self.open = self._resumed is None and not self._throttles

    @property
    def paused(self) -> bool:
        """True if no byte may pass, not even one that was acquired before."""
        return self._resumed is not None

    async def opened(self) -> None:
        """Wait while the gate is paused. When this returns it is not, until the caller's next ``await``."""
        while self._resumed is not None:
            await self._resumed.wait()

    async def acquire(self, size: int) -> int:
        """Wait until bytes may pass; return how many, at least 1 and at most `size`. They count as passed. If it is
        cancelled, some of the throttles may have counted them."""
        while True:
            await self.opened()
            throttles = self._throttles
            piece = min((throttle.piece for throttle, _ in throttles), default=size)
            piece = min(piece, size)
            for throttle, flow in throttles:
                if not await throttle.acquire(flow, piece):
                    break  # its rate was changed meanwhile: ask again
            else:
                if self._resumed is None:
                    return piece

    def charge(self, size: int) -> None:
        """Count `size` bytes that have passed without `acquire`."""
        for throttle, flow in self._throttles:
            throttle.charge(flow, size)

    async def acquire_all(self, size: int) -> None:
        """Wait until `size` bytes may pass, all of them at once."""
        while size:
            size -= await self.acquire(size)
