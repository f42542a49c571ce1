"""Aborting a response that has begun, so that it never looks whole (G5).

After the first byte of a response there can be no error answer: the connection is closed. The client then misses bytes
of the Content-Length, or the last chunk. In HTTP/1.0, where closing the connection ends the body, the connection is
reset.
"""

import contextlib
from collections.abc import Iterator

from aiohttp import HttpVersion11, web

from headgate.errors import Disconnected
from headgate.lowlevel.sockets import abort

__all__ = ["aborting_on_error"]


@contextlib.contextmanager
def aborting_on_error(request: web.Request, response: web.StreamResponse) -> Iterator[None]:
    """A context: abort the client's connection if the block raises (also a cancellation) after `response` has begun.

    Raises what the block raises; for a lost connection Disconnected.
    """
    try:
        yield
    except BaseException as error:
        if response.prepared and request.transport is not None:
            abort(request.transport, reset=request.version < HttpVersion11)
        if isinstance(error, ConnectionError):
            error.__traceback__ = None  # contextlib keeps the error in a frame, which would be a reference cycle
            raise Disconnected from None
        raise
