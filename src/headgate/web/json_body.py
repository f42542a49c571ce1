"""Small request bodies, read whole: JSON, or another text. Bodies of uploads are streamed by ``transfer/inbound``."""

import asyncio
import json
from typing import Any

from aiohttp import web

from headgate.errors import IdleTimeout, MalformedRequest, TooLarge
from headgate.transfer.inbound.body import Body
from headgate.transfer.inbound.content import check_content
from headgate.web.expect import send_continue

__all__ = ["parse_json", "read_text"]


async def read_text(request: web.Request, *, limit: int, seconds: float) -> str:
    """The body of `request`, which has to be UTF-8 text of at most `limit` bytes and to arrive within `seconds`.

    Raises TooLarge, IdleTimeout, MalformedRequest, UnsupportedMedia, ExpectationFailed, and what Body raises.
    """
    check_content(request)
    if (request.content_length or 0) > limit:
        raise TooLarge(f"The body may have {limit} bytes.")
    await send_continue(request)
    body = Body(request, limit=limit)
    data = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while chunk := await body.read():
                data += chunk
    except TimeoutError:
        raise IdleTimeout(f"The body did not arrive within {seconds:g} seconds.") from None
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not valid UTF-8.") from None


def parse_json(text: str) -> Any:
    """The value that `text` has as JSON. Raises MalformedRequest if it is no JSON, or nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedRequest("The body is not valid JSON.") from None
