"""Responses that are whole from the start and reach a client that is still sending; headers that all responses have.

A response that is sent before the request's body has ended closes the connection: the server does not want the rest.
If it closed at once, the kernel would reset the connection, and the client would often lose the response with it; so a
server reads on for a while (RFC 9112, 9.6). A `LingeringResponse` does, for a bounded number of bytes and seconds.

Rules of this file:

- Every response whose body is known from the start is a `LingeringResponse`: any of them may come early.
- A header that all later responses to a request are to have, errors included, is a default header of the request.
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
    """Have every response to `request`, an error included, carry `headers`, unless it has such headers of its own."""
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
        """Have `write_eof` linger: this is the answer to `request`, whose body has not been read to its end."""
        self.force_close()
        self._lingers_for, self._config = request, config

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        request, self._lingers_for = self._lingers_for, None
        if request is not None:
            try:
                await self._linger(request)
            except (ConnectionError, web.RequestPayloadError):
                pass  # the client is gone, or what it sends is malformed: there is nothing to read on
            finally:
                request.protocol.force_close()  # or aiohttp would read on, without a limit in bytes

    async def _linger(self, request: web.Request) -> None:
        """Read and drop what the client still sends, up to `linger_size` bytes and for `linger_timeout` seconds.

        After that many bytes nothing is read until the time is up: a client that blocks in sending then reads the
        response. If the client has hung up, reading goes on, because only the end of what arrived tells of that.
        """
        left, until = self._config.linger_size, time.monotonic() + self._config.linger_timeout
        # In turns of watch_interval: once a handler has returned, aiohttp does not report that a client is gone.
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
    """A response with `body` as JSON; a string is sent as it is, as JSON that was made already."""
    text = body if isinstance(body, str) else json.dumps(body)
    return LingeringResponse(body=text.encode(), status=status, headers=headers, content_type="application/json")


def rfc3339(time: datetime) -> str:
    """`time`, which has to be in UTC, in the format of RFC 3339, to the millisecond."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
