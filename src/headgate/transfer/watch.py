"""Looking in on a transfer now and then, so that no chunk has to pay for a deadline."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from headgate.errors import Disconnected, IdleTimeout, MalformedTransfer
from headgate.jobs import Job

__all__ = ["Watch"]


class Watch:
    """While the block runs, stop `job` if its client is gone, broke its body, or has made us wait for `idle` seconds.

    Looks every `interval` seconds. `waited` tells how many seconds we have been waiting for the client just now;
    without it the client may idle. The client of an upload shows its absence by itself, at the next read; that of an
    export may be gone long before a generator yields the next chunk, and a host that does not cancel handlers tells
    nobody.
    """

    __slots__ = ("_handle", "_idle", "_interval", "_job", "_loop", "_request", "_waited")

    def __init__(
        self,
        job: Job,
        request: web.Request,
        *,
        interval: float,
        idle: float = 0.0,
        waited: Callable[[], float] | None = None,
    ) -> None:
        self._job = job
        self._request = request
        self._interval = interval
        self._idle = idle
        self._waited = waited
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._handle = self._loop.call_later(self._interval, self._look)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._handle.cancel()
        if isinstance(exc, asyncio.CancelledError) and self._gone:
            self._job.reason = Disconnected.code  # the host cancelled us for it; if our own cause stands, it prevails

    @property
    def _gone(self) -> bool:
        return self._request.transport is None

    @property
    def _broken(self) -> bool:
        """Did the client break the framing of its body?

        aiohttp's C parser then queues an error to be answered after this request and tells the reader of the body
        nothing: it would wait until the client gives up. Nothing else can be queued before the end of the body.
        """
        return bool(getattr(self._request.protocol, "_messages", ())) and not self._request.content.is_eof()

    def _look(self) -> None:
        self._handle = self._loop.call_later(self._interval, self._look)
        if not self._job.state.stoppable:
            return
        if self._gone:
            self._job.stop(Disconnected())
        elif self._broken:
            self._job.stop(MalformedTransfer())
        elif self._waited is not None and self._waited() >= self._idle:
            self._job.stop(IdleTimeout(f"Nothing came for {self._idle:g} seconds."))
