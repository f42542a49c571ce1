"""The parts of aiohttp that headgate relies on and that aiohttp does not promise: each is reached in this file only.

aiohttp's public interface ends at the request: what its parser has queued, which buffer a body still has, and when a
write waits are its own affair. headgate has to know these few things to stop transfers that can never end, to keep
bytes of a lost client, and to answer malformed requests in its own words. Each part has one function or class here that
says what it is for and why there is no public way. ``aiohttp_check`` tries all of them when an application is created.

Rules of this file:

- No other file of headgate touches a private name of another package; `tests/test_imports.py` holds that.
- Nothing here has a default for a part that is missing: what is not there raises, and the check at start tells.
- Nothing here knows headgate.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.http import StreamWriter
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from multidict import CIMultiDictProxy

__all__ = [
    "PartsReader",
    "ServerProtocol",
    "count_as_received",
    "drain_buffered",
    "has_broken_framing",
    "write_interim",
    "write_now",
]


#: As many bytes as asyncio's own transports receive at a time.
_MEANINGLESS = bytes(256 * 1024)


def has_broken_framing(request: web.BaseRequest) -> bool:
    """Did the client send something as the body of `request` that is none (a chunk without a size, say)?

    aiohttp's C parser then queues an error, to be answered after this request, and tells the reader of the body
    nothing: the handler would wait for a client that waits for the handler. Before the end of the body nothing else can
    be queued. Only `RequestHandler._messages` knows.
    """
    return len(request.protocol._messages) > 0 and not request.content.is_eof()


def drain_buffered(content: StreamReader) -> bytes:
    """All bytes that aiohttp has received of `content` and no code has read, even if the connection is lost by now.

    The public `read_nowait` raises the connection's error instead, and a resumable upload would lose bytes that have
    arrived.
    """
    return content._read_nowait(-1) if content._buffer else b""


def count_as_received(request: web.BaseRequest, size: int) -> None:
    """Have aiohttp count `size` bytes of the body of `request` as received, which were received past its parser.

    Afterwards the body has ended, and the connection serves the next request; there is no public way to tell a parser
    that a body has ended. It is fed bytes without a meaning, which are dropped at once: 0.03 ms for 1 MiB.
    """
    while size:
        piece = _MEANINGLESS[:size]
        request.protocol.data_received(piece)
        drain_buffered(request.content)
        size -= len(piece)


def write_now(request: web.BaseRequest, data: bytes) -> bool:
    """Write `data` of a response that has begun, from outside of a coroutine; False if the connection is lost.

    The interface of `request.writer` has coroutines only, which may wait for a slow client. That of aiohttp does not
    wait if it is told not to drain, so that one step of it is all of it.
    """
    writing = cast("StreamWriter", request.writer).write(data, drain=False)
    try:
        writing.send(None)
    except StopIteration:
        return True
    except ConnectionError as error:
        error.__traceback__ = None  # it leads to a frame that leads back to the error: a circle
        return False
    finally:
        writing.close()
    raise RuntimeError("aiohttp's StreamWriter.write(drain=False) waits")


async def write_interim(request: web.BaseRequest, response: bytes) -> None:
    """Write an interim response (RFC 9110, 15.2) to the client of `request`. Raises ConnectionError.

    aiohttp has no interface for them. It takes a request for answered once its writer has put out a byte, and could not
    answer an error any more; so the writer's count is set back, as aiohttp itself does after its 100 Continue.
    """
    await request.writer.write(response)
    request.writer.output_size = 0


class PartsReader(MultipartReader):
    """aiohttp's reader of a multipart body, whose parts may be read by other headers than they came with.

    Which class reads a part is decided in `_get_part_reader` by its Content-Type; the public `part_reader_cls` is asked
    only for those that are not multipart themselves.
    """

    def headers_to_read_by(self, headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
        """The headers by which the part that came with `headers` is to be read; to be overridden."""
        return headers

    def _get_part_reader(self, headers: CIMultiDictProxy[str]) -> MultipartReader | BodyPartReader:
        return super()._get_part_reader(self.headers_to_read_by(headers))


class ServerProtocol(RequestHandler):
    """aiohttp's protocol of one connection to a server, of which a subclass can be made and asked.

    A `web.Server` makes the protocols of its connections by itself, and of one class. What it makes them with is in its
    `_kwargs`, what has been received in `_messages`; `_waiter` is what the protocol waits for while nothing has.
    """

    __slots__ = ()

    def __init__(self, server: web.Server, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop=loop, **server._kwargs)

    @property
    def answering(self) -> web.BaseRequest | None:
        """The request that is being answered now."""
        return self._current_request

    @property
    def is_ending(self) -> bool:
        """Does the connection take no more requests?"""
        return self._force_close or self._close

    @property
    def has_queued(self) -> bool:
        """Has a request been received that waits for its turn?"""
        return bool(self._messages)

    @property
    def is_waiting(self) -> bool:
        """Does the protocol wait for a request, with nothing to answer?"""
        return self._waiter is not None and not self._waiter.done()

    @property
    def has_answered_all(self) -> bool:
        """Is every request answered that was received? Then the protocol waits for the next, or is about to."""
        return self._current_request is None and not self._messages and self._waiter is not None

    def queue_error(self, status: int, error: BaseException) -> None:
        """Have `error` answered, by `error_handler`, when everything that came before is."""
        self._messages.append((_ErrInfo(status, error, ""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def error_handler(self, error: BaseException) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        """What answers `error`: one that was queued, or one of aiohttp's parser; to be overridden."""
        raise NotImplementedError

    def _make_error_handler(self, err_info: _ErrInfo) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        return self.error_handler(err_info.exc)
