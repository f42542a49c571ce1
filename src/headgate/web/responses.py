"""Answers that are whole from the start, and reach a client that is still sending.

An answer that comes before the end of the request's body ends the connection: the rest of the body is nobody's. Closing
at once would reset it, and many a client would lose the answer with it; RFC 9112, 9.6 asks the server to read on for a
while. What is read for that is bounded in bytes and in seconds.
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

__all__ = ["LingeringResponse", "add_default_headers", "json_answer", "rfc3339", "tell"]

#: What every answer to a request says, be it an error.
DEFAULT_HEADERS = web.RequestKey("headgate.told", dict[str, str])


def tell(request: web.Request, headers: Mapping[str, str]) -> None:
    """Have every answer to `request`, be it an error, carry `headers`, unless it says otherwise."""
    request.setdefault(DEFAULT_HEADERS, {}).update(headers)


async def add_default_headers(request: web.Request, response: web.StreamResponse) -> None:
    """An ``on_response_prepare``: say what was to be told."""
    for name, value in request.get(DEFAULT_HEADERS, {}).items():
        response.headers.setdefault(name, value)


class LingeringResponse(web.Response):
    """A response that lingers, if `before_the_end_of` says so, until its client had time to read it."""

    _request: web.Request | None = None
    _config: Config

    def before_the_end_of(self, request: web.Request, config: Config) -> None:
        """This answers `request`, whose body has not been read to its end."""
        self.force_close()
        self._request, self._config = request, config

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        request, self._request = self._request, None
        if request is not None:
            try:
                await self._linger(request)
            except (ConnectionError, web.RequestPayloadError):
                pass  # it is gone, or sends nothing that could be read on
            finally:
                request.protocol.force_close()  # or aiohttp would read on, without a limit in bytes

    async def _linger(self, request: web.Request) -> None:
        """Drop what still comes. A client that sends too much of it is read no further: it blocks, or looks up.

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


def json_answer(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> LingeringResponse:
    """`body` as JSON; as it is if it is text already."""
    text = body if isinstance(body, str) else json.dumps(body)
    return LingeringResponse(body=text.encode(), status=status, headers=headers, content_type="application/json")


def rfc3339(time: datetime) -> str:
    """`time`, which is in UTC, to the millisecond."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
