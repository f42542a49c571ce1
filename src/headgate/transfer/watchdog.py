"""Ends transfers that do not move: a timer looks at each transfer now and then, so that no chunk pays for a deadline.

Every `Config.watch_interval` seconds a `Watchdog` asks four things about its job: is the client gone, did it break the
framing of its body, has nothing moved for `idle_timeout`, was too little moved in `min_rate_window`. A client answers
for the time only in which the server waits for it, which `ClientWait` measures. The time in which the client waits for
the server (a slow disk, a service that checks an upload, a query without rows yet, a pause) is not its fault.

Rules of this room:

- A watchdog only stops its job; what that means for the connection is decided where the bytes move.
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

    A wait costs two looks at the clock.
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
    """Bytes that the client of the export `job` has taken, as far as can be told; only that they grow means anything.

    Where there is TCP, those that the client's system has acknowledged on this connection: the next slice of an export
    may take minutes to leave to a slow client, which takes bytes all the same. Elsewhere those that left our buffers.
    """
    transport = request.transport
    acknowledged = None if transport is None else acknowledged_bytes(transport)
    return job.bytes_done if acknowledged is None else acknowledged


class Watchdog:
    """While the block runs, stop `job` if its client is gone, broke its body, idles, or is slower than it may be.

    `waited` tells how long the server has been waiting for the client, `moved` how many bytes the client has sent or
    taken. The client of an upload shows its absence by itself, at the next read; that of an export may be gone long
    before a generator yields the next chunk, and a host that does not cancel handlers tells nobody.
    """

    __slots__ = (
        *("_config", "_job", "_last_move", "_loop", "_moved", "_moved_at_last_look", "_probed", "_request", "_timer"),
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
        # Bytes moved and seconds waited: when a byte was last seen to have moved, and when the rate's window began.
        self._last_move = self._window_start = (moved(), waited.seconds)
        self._moved_at_last_look = -1
        self._probed = False
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._config.watch_interval, self._look)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if isinstance(exc, asyncio.CancelledError) and self._gone:
            self._job.reason = Disconnected.code  # the host cancelled us for it; if our own cause stands, it prevails

    @property
    def _gone(self) -> bool:
        return self._request.transport is None

    @property
    def _hung_up(self) -> bool:
        """Has the client hung up, though the event loop does not learn of it?

        Nothing is read while an upload is paused: without this look it would wait for nobody, for ever. The kernel does
        not learn of it either while its buffers are full, so the client is probed. A client of an export that has sent
        its last byte may still listen (RFC 9112, 9.6), and what is sent to it tells; but where nothing has moved since
        the last look, no query is to go on, and no paused export is to wait, for a client that has most likely gone.
        """
        transport = self._request.transport
        if transport is None:
            return False
        if self._job.kind is Kind.EXPORT:
            before, self._moved_at_last_look = self._moved_at_last_look, self._moved()
            return self._moved_at_last_look == before and has_hung_up(transport)
        if self._job.gate.open or not isinstance(transport, asyncio.ReadTransport) or transport.is_reading():
            return False
        if not self._probed:
            self._probed = True
            probe_when_silent(transport, self._config.idle_timeout)
        return has_hung_up(transport)

    def _look(self) -> None:
        self._timer = self._loop.call_later(self._config.watch_interval, self._look)
        if not self._job.state.stoppable:
            return
        if self._gone or self._hung_up:
            self._job.stop(Disconnected())
        elif has_broken_framing(self._request):  # of which the handler, which reads the body, is not told
            self._job.stop(MalformedTransfer())
        elif self._job.state is State.PAUSED:  # both clocks stand still
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
