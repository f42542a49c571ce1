"""One connection of ``headgate serve``: aiohttp's protocol, behind a `Framing` and with a few habits of its own.

What a client sends passes the `Framing` on its way to aiohttp's parser. What the framing refuses is queued as an error,
and answered as a problem when all that came before it is.

Rules of this room:

- The middle of a body costs one comparison more than in aiohttp.
- An error is the last answer of its connection, and says nothing that its client sent.
- A client that has sent its last byte (RFC 9112, 9.6) still gets its answers.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from headgate.http1.framing import Framing, Refusal
from headgate.lowlevel.aiohttp_internals import ServerProtocol
from headgate.lowlevel.sockets import is_plain

__all__ = ["Bounds", "Connection"]

logger = logging.getLogger("headgate.http1")

#: Seconds for which the client of something malformed, which may still be sending, is given to read what it is told.
LINGER = 1.0

#: Seconds between looks at a connection whose client has said its last word.
LOOK = 0.1

_MALFORMED = Refusal(400, "malformed-request", "The request is malformed")
_CROWDED = Refusal(503, "busy", "The server has too many unfinished requests")


class Bounds(Protocol):
    """What all connections share."""

    #: Bytes of one request's head.
    max_head_size: int

    def keeps(self, more: int) -> bool:
        """`more` bytes of unfinished heads are kept, or fewer; may they be?"""

    def lost(self, connection: "Connection") -> None:
        """`connection` is over."""


class Connection(ServerProtocol):
    """One connection to `server`, which an ``AppRunner`` has made. `bounds`: what it shares with all others."""

    __slots__ = ("_bounds", "_framing", "_half_closed", "_kept", "address", "over", "progress")

    def __init__(self, server: web.Server, bounds: Bounds) -> None:
        super().__init__(server, loop=asyncio.get_running_loop())
        self._bounds = bounds
        self._framing = Framing(bounds.max_head_size)
        self._kept = 0  # bytes of a head that is not finished
        self._half_closed: asyncio.Handle | None = None
        #: Whose it is.
        self.address = ""
        #: Set when the connection has ended, if anybody waits for that.
        self.over: asyncio.Event | None = None
        #: What the listener has seen of how the client takes its answers.
        self.progress: Any = None

    def data_received(self, data: bytes) -> None:
        framing = self._framing
        if 0 < len(data) < framing.left:  # the hot path: the middle of a body, or of a chunk
            framing.left -= len(data)
            super().data_received(data)
            return
        if not data:  # aiohttp asks itself to go on with what it has
            super().data_received(data)
            return
        try:
            for piece in framing.receive(data):
                super().data_received(piece)
            more = framing.unfinished - self._kept
            if more:
                self._kept += more
                if not self._bounds.keeps(more):
                    raise _CROWDED
        except Refusal as refusal:
            framing.refuse()
            self._release_head()
            self._refuse(refusal)

    def _release_head(self) -> None:
        kept, self._kept = self._kept, 0
        if kept:
            self._bounds.keeps(-kept)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer `refusal` when all that came before is answered; it is the connection's last answer."""
        if not self.is_ending:
            self.queue_error(refusal.status, refusal)

    def error_handler(self, error: BaseException) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        """Tell what was wrong in a problem, as all errors are told."""
        refusal = error if isinstance(error, Refusal) else _MALFORMED

        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            kind = type(error).__name__ if isinstance(error, HttpProcessingError) else refusal.code
            logger.info("malformed request: %s", kind)
            self._framing.refuse()
            return _Refused(self, refusal)

        return handler

    # The client has said its last word, and may still listen (RFC 9112, 9.6).

    # aiohttp says that it never keeps a connection open then; asyncio asks for a truth.
    def eof_received(self) -> bool | None:  # type: ignore[override]
        busy = self.has_queued or not self.is_waiting
        if not busy or not self._framing.is_between or self.transport is None or self._half_closed is not None:
            return None
        if self.over is not None:  # it has been told that its request is none, and goes
            return None
        if not is_plain(self.transport):  # TLS has its own word for it, and its transport knows no half
            return None
        self._framing.refuse()
        self._half_closed = asyncio.get_running_loop().call_later(LOOK, self._look)
        return True

    def _look(self) -> None:
        """Has the client been answered?"""
        if self.transport is None:
            return
        if self.has_answered_all:
            self.force_close()
        else:
            self._half_closed = asyncio.get_running_loop().call_later(LOOK, self._look)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._release_head()
        self._framing.refuse()
        if self._half_closed is not None:
            self._half_closed.cancel()
        if self.over is not None:
            self.over.set()
        super().connection_lost(exc)
        self._bounds.lost(self)


class _Refused(web.Response):
    """A problem that is the connection's last answer, and waits for a while for its client to read it."""

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
        self._connection.over = asyncio.Event()
        transport.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await self._connection.over.wait()
