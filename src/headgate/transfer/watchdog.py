"""The watchdog of a transfer: a timer that stops the job if its client is gone, idle or too slow.

Every `Config.watch_interval` seconds it checks four things: is the client gone, did it break the framing of its body,
has nothing moved for `idle_timeout`, was too little moved in `min_rate_window`. So no chunk pays for a deadline. Only
the time counts in which the server waits for the client, which `ClientWait` measures; the time in which the client
waits for the server (a slow disk, a slow `on_received`, a query without rows yet, a pause) does not.

Rules of this file:

- A watchdog only stops its job; the code that moves the bytes closes the connection.
- A paused job has no deadlines, but ends when its client goes.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from headgate.config import Config
from headgate.errors import Disconnected, IdleTimeout, MalformedTransfer, TooSlow
from headgate.jobs import Job, Kind, State
from headgate.lowlevel.aiohttp_internals import has_broken_framing
from headgate.lowlevel.sockets import acknowledged_bytes, has_hung_up, probe_when_silent

__all__ = ["ClientWait", "Watchdog", "bytes_taken"]


class ClientWait:
    """A stopwatch of how long the server has waited for the client: ``with waited:`` around each wait.

    A wait costs two readings of the clock.
    """

    __slots__ = ("_seconds", "_since")

    def __init__(self) -> None:
        self._seconds = 0.0
        self._since: float | None = None

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *exc_info: object) -> None:
        assert self._since is not None
        self._seconds += time.monotonic() - self._since
        self._since = None

    @property
    def seconds(self) -> float:
        """Seconds waited in all, the wait that goes on included."""
        return self._seconds if self._since is None else self._seconds + time.monotonic() - self._since


def bytes_taken(request: web.Request, job: Job) -> int:
    """A count that grows while the client of the export `job` takes bytes; only its growth has a meaning.

    On TCP, the bytes that the client's system has acknowledged on this connection: one slice of an export may take
    minutes to reach a slow client, which takes bytes all the same. Elsewhere the bytes that the job has sent.
    """
    transport = request.transport
    acknowledged = None if transport is None else acknowledged_bytes(transport)
    return job.bytes_done if acknowledged is None else acknowledged


class Watchdog:
    """A context that stops `job` if its client is gone, broke its body, is idle, or slower than it may be.

    `waited` measures the time in which the server waits for the client, `moved` returns how many bytes the client has
    sent or taken. An upload notices a lost client at its next read; an export may only notice when the generator yields
    its next chunk, on a host that does not cancel handlers: so the watchdog checks.
    """

    __slots__ = (
        *("_config", "_job", "_last_move", "_loop", "_moved", "_moved_before", "_probed", "_request", "_timer"),
        *("_waited", "_window_start"),
    )

    def __init__(
        self, job: Job, request: web.Request, config: Config, *, waited: ClientWait, moved: Callable[[], int]
    ) -> None:
        self._job = job
        self._request = request
        self._config = config
        self._waited = waited
        self._moved = moved
        # Bytes moved and seconds waited, when a byte moved last, and when the window of the rate began.
        self._last_move = self._window_start = (moved(), waited.seconds)
        self._moved_before = -1
        self._probed = False
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._config.watch_interval, self._check)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if isinstance(exc, asyncio.CancelledError) and self._is_disconnected:
            # The host cancelled the handler for it. If the job has a cause, that counts before this reason.
            self._job.reason = Disconnected.code

    @property
    def _is_disconnected(self) -> bool:
        return self._request.transport is None

    @property
    def _has_hung_up(self) -> bool:
        """Has the client closed the connection, without the event loop noticing it?

        A paused upload reads nothing, so it would wait for ever. While the kernel's buffers are full the kernel does
        not notice it either: the client is probed (TCP keepalive). The client of an export may have closed only its
        sending side and still read (RFC 9112, 9.6); sending to it would tell. But if nothing has moved since the last
        check, it counts as gone: no query runs on, and no paused export waits, for a client that most likely is.
        """
        transport = self._request.transport
        if transport is None:
            return False
        if self._job.kind is Kind.EXPORT:
            before, self._moved_before = self._moved_before, self._moved()
            return self._moved_before == before and has_hung_up(transport)
        if self._job.gate.open or not isinstance(transport, asyncio.ReadTransport) or transport.is_reading():
            return False
        if not self._probed:
            self._probed = True
            probe_when_silent(transport, self._config.idle_timeout)
        return has_hung_up(transport)

    def _check(self) -> None:
        self._timer = self._loop.call_later(self._config.watch_interval, self._check)
        if not self._job.state.stoppable:
            return
        if self._is_disconnected or self._has_hung_up:
            self._job.stop(Disconnected())
        elif has_broken_framing(self._request):  # aiohttp does not report it to a handler that is reading the body
            self._job.stop(MalformedTransfer())
        elif self._job.state is State.PAUSED:  # a pause counts neither as idle nor as slow
            self._last_move = self._window_start = (self._moved(), self._waited.seconds)
        else:
            self._measure(self._moved(), self._waited.seconds)

    def _measure(self, moved: int, waited: float) -> None:
        config = self._config
        if moved != self._last_move[0]:
            self._last_move = (moved, waited)
        elif waited - self._last_move[1] >= config.idle_timeout:
            self._job.stop(IdleTimeout(f"Nothing moved for {config.idle_timeout:g} seconds."))
            return
        seconds = waited - self._window_start[1]
        if seconds >= config.min_rate_window:
            if moved - self._window_start[0] < config.min_rate * seconds:
                self._job.stop(TooSlow(f"Fewer than {config.min_rate} bytes a second for {seconds:.0f} seconds."))
            self._window_start = (moved, waited)
