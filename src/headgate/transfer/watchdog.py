"""Looking in on a transfer now and then, so that no chunk has to pay for a deadline.

A client is held to account only for the time in which we wait for it: `ClientWait` measures that. The time in which it
waits for us (a slow disk, a service that checks an upload, a query that has no rows yet, a pause) is not its fault.
"""

import asyncio
import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from headgate.config import Config
from headgate.errors import Disconnected, IdleTimeout, MalformedTransfer, TooSlow
from headgate.jobs import Job, Kind, State
from headgate.lowlevel.aiohttp_internals import has_broken_framing

__all__ = ["ClientWait", "Watchdog", "acknowledged", "has_hung_up", "taken"]

#: So many probes without an answer end a connection.
PROBES = 4

#: Where ``tcpi_bytes_acked`` lies in Linux's ``struct tcp_info`` (linux/tcp.h; since 4.1).
_ACKED = struct.Struct("120xQ")


class ClientWait:
    """A stopwatch: ``with waited:`` around each wait for the client. Costs two looks at the clock a wait."""

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
        """Seconds waited in all, also just now."""
        return self._seconds if self._since is None else self._seconds + time.monotonic() - self._since


def taken(request: web.Request, job: Job) -> int:
    """Bytes that the client's system has acknowledged, on this connection.

    Finer than what we handed to ours: a slow client's next slice may take minutes to leave, and it moves all the same.
    """
    acked = acknowledged(request.get_extra_info("socket"))
    return job.bytes_done if acked is None else acked  # without TCP (a Unix socket) what left our buffers


def acknowledged(sock: socket.socket | None) -> int | None:
    """Bytes that the system at the other end of `sock` has acknowledged; None where nobody can tell."""
    try:
        return (
            None
            if sock is None
            else _ACKED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.size))[0]
        )
    except (OSError, struct.error):
        return None


def has_hung_up(transport: asyncio.BaseTransport) -> bool:
    """Has the client said its last word? The kernel knows, though nothing is read."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), select.POLLRDHUP)
    return bool(poll.poll(0))


def _probe(sock: socket.socket, seconds: float) -> None:
    """Have the kernel find out whether the peer is still there, when nothing has moved for so long."""
    with contextlib.suppress(OSError):  # no TCP (a Unix socket), where a peer's end is always known
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(seconds)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, int(seconds) // PROBES))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)


class Watchdog:
    """While the block runs, stop `job` if its client is gone, broke its body, idles, or is slower than may be.

    `waited`: how long we have been waiting for the client; `moved` tells how many bytes it has sent or taken. The
    client of an upload shows its absence by itself, at the next read; that of an export may be gone long before a
    generator yields the next chunk, and a host that does not cancel handlers tells nobody.
    """

    __slots__ = (
        *("_config", "_handle", "_job", "_loop", "_move", "_moved", "_probed", "_request", "_seen", "_waited"),
        "_window",
    )

    def __init__(
        self, job: Job, request: web.Request, config: Config, *, waited: ClientWait, moved: Callable[[], int]
    ) -> None:
        self._job = job
        self._request = request
        self._config = config
        self._waited = waited
        self._moved = moved
        # Bytes moved, and seconds waited: when a byte was last seen to have moved, and when the window began.
        self._move = self._window = (moved(), waited.seconds)
        self._probed = False
        self._seen = -1  # bytes that had moved at the look before this
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._handle = self._loop.call_later(self._config.watch_interval, self._look)
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
        """Did the client break the framing of its body? The handler, which reads it, is not told."""
        return has_broken_framing(self._request)

    @property
    def _hung_up(self) -> bool:
        """Has the client hung up while its upload is held?

        Nothing is read then, so the event loop does not learn of it: a held job would wait for nobody, for ever. The
        kernel does not either while its buffers are full; so the connection is probed until the client's has given up.
        """
        transport = self._request.transport
        if self._job.kind is Kind.EXPORT:
            return transport is not None and self._is_for_nobody(transport)
        if self._job.gate.open or not isinstance(transport, asyncio.ReadTransport) or transport.is_reading():
            return False
        if not self._probed:
            self._probed = True
            _probe(transport.get_extra_info("socket"), self._config.idle_timeout)
        return has_hung_up(transport)

    def _is_for_nobody(self, transport: asyncio.BaseTransport) -> bool:
        """Has the client of an export said its last word, and been sent nothing since we looked?

        It may still listen (RFC 9112, 9.6), and what is sent to it tells; but a query for nobody is not to go on, nor
        is a paused export to wait, until that comes.
        """
        before, self._seen = self._seen, self._moved()
        return self._seen == before and has_hung_up(transport)

    def _look(self) -> None:
        self._handle = self._loop.call_later(self._config.watch_interval, self._look)
        if not self._job.state.stoppable:
            return
        if self._gone or self._hung_up:
            self._job.stop(Disconnected())
        elif self._broken:
            self._job.stop(MalformedTransfer())
        elif self._job.state is State.PAUSED:  # both clocks stand still
            self._move = self._window = (self._moved(), self._waited.seconds)
        else:
            self._measure(self._moved(), self._waited.seconds)

    def _measure(self, moved: int, waited: float) -> None:
        config = self._config
        if moved != self._move[0]:
            self._move = (moved, waited)
        elif waited - self._move[1] >= config.idle_timeout:
            self._job.stop(IdleTimeout(f"Nothing moved for {config.idle_timeout:g} seconds."))
            return
        seconds = waited - self._window[1]
        if seconds >= config.min_rate_window:
            if moved - self._window[0] < config.min_rate * seconds:
                self._job.stop(TooSlow(f"Fewer than {config.min_rate} bytes a second for {seconds:.0f} seconds."))
            self._window = (moved, waited)
