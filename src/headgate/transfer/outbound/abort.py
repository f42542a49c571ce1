"""How a response that has begun is broken off, so that it never looks whole (G5).

After the first byte of a response no error can be answered any more: what is left is to end the connection. A client
then misses bytes of a Content-Length, or the last chunk. In HTTP/1.0, where the end of the connection is the end of the
body, only a reset looks like what it is.
"""

import contextlib
from collections.abc import Iterator

from aiohttp import HttpVersion11, web

from headgate.errors import Disconnected
from headgate.lowlevel.sockets import abort

__all__ = ["aborting_on_error"]


@contextlib.contextmanager
def aborting_on_error(request: web.Request, response: web.StreamResponse) -> Iterator[None]:
    """Abort the client's connection if the block raises, a cancellation included, after `response` has begun.

    Raises what the block does, except that a lost connection is Disconnected.
    """
    try:
        yield
    except BaseException as error:
        if response.prepared and request.transport is not None:
            abort(request.transport, reset=request.version < HttpVersion11)
        if isinstance(error, ConnectionError):
            error.__traceback__ = None  # contextlib keeps the error in a frame: a circle
            raise Disconnected from None
        raise
