"""``Expect: 100-continue`` (RFC 9110, 10.1.1), answered by the handler instead of before it.

aiohttp answers the expectation before any middleware has run, and an unknown one with its own words. All our routes
leave it open (`deferred`); a handler that reads a body calls `send_continue` when everything that the headers can tell
has been checked, right before it does. Whatever it refuses before that is refused without a byte of the body.
"""

from aiohttp import HttpVersion11, hdrs, web

from headgate.errors import Disconnected, ExpectationFailed
from headgate.lowlevel.aiohttp_internals import write_interim

__all__ = ["deferred", "send_continue", "send_interim"]


async def deferred(request: web.Request) -> None:
    """An expect handler that does nothing yet."""


async def send_continue(request: web.Request) -> None:
    """Tell a client that waits for it to send the body.

    Raises ExpectationFailed for any other expectation, Disconnected if the client no longer waits.
    """
    expect = request.headers.get(hdrs.EXPECT)
    if expect is None or request.version < HttpVersion11:  # RFC 9110: a server ignores it in HTTP/1.0
        return
    if expect.lower() != "100-continue":
        raise ExpectationFailed
    await send_interim(request, b"HTTP/1.1 100 Continue\r\n\r\n")


async def send_interim(request: web.Request, response: bytes) -> None:
    """Send an interim response (RFC 9110, 15.2). Raises Disconnected."""
    try:
        await write_interim(request, response)
    except ConnectionError:
        raise Disconnected from None
