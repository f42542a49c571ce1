"""One connection of ``headgate serve``: aiohttp's protocol, behind a `Framing` and with a few habits of its own.

What a client sends passes the `Framing` on its way to aiohttp's parser. What the framing refuses is queued as an error,
and answered as a problem when all that came before it is.

Rules of this file:

- The middle of a body costs one comparison more than in aiohttp.
- An error is the last answer of its connection, and says nothing that its client sent.
- A client that has sent its last byte (RFC 9112, 9.6) still gets its answers.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from headgate.http1.framing import Framing, Refusal
from headgate.lowlevel.aiohttp_internals import ServerProtocol
from headgate.lowlevel.sockets import is_plain

__all__ = ["AnswerProgress", "Connection", "ConnectionLimits"]

logger = logging.getLogger("headgate.http1")

#: Seconds that the client of something malformed, which may still be sending, is given to read the error.
LINGER_SECONDS = 1.0

#: Seconds between looks at a connection whose client has sent its last byte.
LOOK_SECONDS = 0.1

_MALFORMED = Refusal(400, "malformed-request", "The request is malformed")
_CROWDED = Refusal(503, "busy", "The server has too many unfinished requests")


class ConnectionLimits(Protocol):
    """What all connections share, as one connection sees it."""

    #: Bytes that the head of one request may have.
    max_head_size: int

    def count_unfinished(self, more: int) -> bool:
        """Count `more` bytes of unfinished heads, or fewer if it is negative; may all connections keep so many?"""

    def forget(self, connection: "Connection") -> None:
        """`connection` has ended."""


class AnswerProgress(NamedTuple):
    """What was seen of how a client takes its answers: bytes taken, and times on the monotonic clock."""

    taken: int
    #: When `taken` was last seen to have changed.
    moved_at: float
    #: Bytes that were taken when the window began in which the rate is measured, and when that was.
    window_taken: int
    window_began: float


class Connection(ServerProtocol):
    """One connection to `server`, which an ``AppRunner`` has made."""

    __slots__ = ("_counted", "_framing", "_half_closed", "_limits", "address", "closed", "progress")

    def __init__(self, server: web.Server, limits: ConnectionLimits) -> None:
        super().__init__(server, loop=asyncio.get_running_loop())
        self._limits = limits
        self._framing = Framing(limits.max_head_size)
        self._counted = 0  # bytes of an unfinished head that count against the limit of all connections
        self._half_closed: asyncio.Handle | None = None  # looks after a client that has sent its last byte
        #: The client's address.
        self.address = ""
        #: Set when the connection has ended, if an error's response waits for that.
        self.closed: asyncio.Event | None = None
        #: What the listener has seen while an answer waits to be taken.
        self.progress: AnswerProgress | None = None

    def data_received(self, data: bytes) -> None:
        framing = self._framing
        if 0 < len(data) < framing.body_left:  # the hot path: the middle of a body, or of a chunk
            framing.body_left -= len(data)
            super().data_received(data)
            return
        if not data:  # aiohttp asks itself to go on with what it has
            super().data_received(data)
            return
        try:
            for piece in framing.receive(data):
                super().data_received(piece)
            more = framing.unfinished - self._counted
            if more:
                self._counted += more
                if not self._limits.count_unfinished(more):
                    raise _CROWDED
        except Refusal as refusal:
            framing.close()
            self._release_head()
            self._refuse(refusal)

    def _release_head(self) -> None:
        """Nothing is kept of an unfinished head any more."""
        kept, self._counted = self._counted, 0
        if kept:
            self._limits.count_unfinished(-kept)

    def _refuse(self, refusal: Refusal) -> None:
        """Have `refusal` answered when all that came before is; it is the connection's last answer."""
        if not self.is_ending:
            self.queue_error(refusal.status, refusal)

    def error_handler(self, error: BaseException) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        """What answers `error` with a problem, as all errors are answered."""
        refusal = error if isinstance(error, Refusal) else _MALFORMED

        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            kind = type(error).__name__ if isinstance(error, HttpProcessingError) else refusal.code
            logger.info("malformed request: %s", kind)
            self._framing.close()
            return _ErrorResponse(self, refusal)

        return handler

    # aiohttp's returns nothing, and never keeps such a connection open; asyncio asks whether to.
    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client has sent its last byte, and may still read (RFC 9112, 9.6): keep the connection for its
        answers?"""
        busy = self.has_queued or not self.is_waiting
        if not busy or not self._framing.is_between or self.transport is None or self._half_closed is not None:
            return None
        if self.closed is not None:  # it has read what was wrong with its request, and goes
            return None
        if not is_plain(self.transport):  # TLS has its own way to say it, and its transport cannot stay half open
            return None
        self._framing.close()
        self._half_closed = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
        return True

    def _look(self) -> None:
        """End the connection if the client, which has sent its last byte, has all its answers."""
        if self.transport is None:
            return
        if self.has_answered_all:
            self.force_close()
        else:
            self._half_closed = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._release_head()
        self._framing.close()
        if self._half_closed is not None:
            self._half_closed.cancel()
        if self.closed is not None:
            self.closed.set()
        super().connection_lost(exc)
        self._limits.forget(self)


class _ErrorResponse(web.Response):
    """A problem that is the connection's last response, and waits for a while for its client to read it."""

    def __init__(self, connection: Connection, refusal: Refusal) -> None:
        body = {
            "type": f"urn:headgate:problem:{refusal.code}",
            "title": refusal.title,
            "status": refusal.status,
            "code": refusal.code,
        }
        super().__init__(
            status=refusal.status,
            body=json.dumps(body).encode(),
            content_type="application/problem+json",
            headers={"Connection": "close", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
        )
        self.force_close()
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        transport = self._connection.transport
        if transport is None or not transport.can_write_eof():
            return
        self._connection.closed = asyncio.Event()
        transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await self._connection.closed.wait()
