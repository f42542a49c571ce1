"""``Expect: 100-continue`` (RFC 9110, 10.1.1), answered by the handler instead of before it; other interim responses.

aiohttp answers the expectation before any middleware runs, and an unknown one with an answer that is no problem+json.
All routes of headgate keep it from doing so (`deferred`). A handler that reads a body calls `send_continue` right
before, when it has checked everything that the headers say. A request that is refused before that is refused without a
byte of its body.
"""

from aiohttp import HttpVersion11, hdrs, web

from headgate.errors import Disconnected, ExpectationFailed
from headgate.lowlevel.aiohttp_internals import write_interim

__all__ = ["deferred", "send_continue", "send_interim"]


async def deferred(request: web.Request) -> None:
    """The ``expect_handler`` of every route: does nothing, so that the route's handler answers the expectation."""


async def send_continue(request: web.Request) -> None:
    """Tell the client of `request` to send the body, if it waits for that answer.

    Raises ExpectationFailed for any other expectation, Disconnected if the client is gone.
    """
    expect = request.headers.get(hdrs.EXPECT)
    if expect is None or request.version < HttpVersion11:  # RFC 9110: a server ignores it in HTTP/1.0
        return
    if expect.lower() != "100-continue":
        raise ExpectationFailed
    await send_interim(request, b"HTTP/1.1 100 Continue\r\n\r\n")


async def send_interim(request: web.Request, response: bytes) -> None:
    """Send `response`, an interim one (RFC 9110, 15.2) in its wire format, to the client. Raises Disconnected."""
    try:
        await write_interim(request, response)
    except ConnectionError:
        raise Disconnected from None
