"""Responses that are whole from the start and reach a client that is still sending; headers that all responses have.

A response that goes out before the request's body has come to its end ends the connection: nobody reads the rest.
Closing at once would reset the connection, and many a client would lose the response with it, so a server reads on for
a while (RFC 9112, 9.6). A `LingeringResponse` does, within bounds of bytes and seconds.

Rules of this room:

- Every response of headgate's that has a body known from the start is a `LingeringResponse`: any may come early.
- What a handler knows of all further responses to its request, errors included, are default headers.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from headgate.config import Config
from headgate.lowlevel.sockets import has_hung_up

__all__ = ["LingeringResponse", "apply_default_headers", "json_response", "rfc3339", "set_default_headers"]

#: The headers that every response to a request has, unless it has such a header of its own.
_DEFAULT_HEADERS = web.RequestKey("headgate.default_headers", dict[str, str])


def set_default_headers(request: web.Request, headers: Mapping[str, str]) -> None:
    """Have every response to `request`, be it an error, carry `headers`, unless it has such headers of its own."""
    request.setdefault(_DEFAULT_HEADERS, {}).update(headers)


async def apply_default_headers(request: web.Request, response: web.StreamResponse) -> None:
    """An ``on_response_prepare``: give `response` the default headers of `request`."""
    for name, value in request.get(_DEFAULT_HEADERS, {}).items():
        response.headers.setdefault(name, value)


class LingeringResponse(web.Response):
    """A response that can wait until a client that is still sending has had time to read it."""

    _lingers_for: web.Request | None = None
    _config: Config

    def linger_after(self, request: web.Request, config: Config) -> None:
        """Linger once this is sent: it answers `request`, whose body has not been read to its end."""
        self.force_close()
        self._lingers_for, self._config = request, config

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        request, self._lingers_for = self._lingers_for, None
        if request is not None:
            try:
                await self._linger(request)
            except (ConnectionError, web.RequestPayloadError):
                pass  # the client is gone, or sends nothing that could be read on
            finally:
                request.protocol.force_close()  # or aiohttp would read on, without a limit in bytes

    async def _linger(self, request: web.Request) -> None:
        """Drop what still comes. Of a client that sends too much no more is read: it blocks, and reads the response.

        Unless it has hung up: then no more comes than is here, and to read it is to learn of the end.
        """
        left, until = self._config.linger_size, time.monotonic() + self._config.linger_timeout
        # A look now and then: once a handler has returned, aiohttp tells nobody that the client is gone.
        while (transport := request.transport) is not None and (seconds := until - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, self._config.watch_interval)):
                    if left <= 0 and not has_hung_up(transport):
                        await asyncio.Event().wait()
                    data = await request.content.readany()
                    if not data:
                        return
                    left -= len(data)


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> LingeringResponse:
    """A response with `body` as JSON; a text is taken for JSON already."""
    text = body if isinstance(body, str) else json.dumps(body)
    return LingeringResponse(body=text.encode(), status=status, headers=headers, content_type="application/json")


def rfc3339(time: datetime) -> str:
    """`time`, which is in UTC, as RFC 3339 has it, to the millisecond."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
