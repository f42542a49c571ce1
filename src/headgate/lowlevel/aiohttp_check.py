"""Whether this aiohttp still has the parts that `aiohttp_internals` relies on, in the shape in which it relies on them.

Each part is tried on aiohttp's own objects, with a transport that only remembers what is written; nothing runs in the
loop, so that it takes well under a millisecond.

Rules of this file:

- Every function and class of `aiohttp_internals` has a probe here, which a test breaks part by part.
- A part that is missing ends the start of an application. An aiohttp that has changed must not turn off, say, the watch
  over broken bodies without a word.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import aiohttp
from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs, web
from aiohttp.http import StreamWriter
from multidict import CIMultiDict, CIMultiDictProxy

from headgate.errors import ConfigError
from headgate.lowlevel.aiohttp_internals import (
    PartsReader,
    ServerProtocol,
    count_as_received,
    drain_buffered,
    has_broken_framing,
    write_interim,
    write_now,
)

__all__ = ["check_aiohttp"]

_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def check_aiohttp() -> None:
    """Try every part of aiohttp that headgate relies on. May be called with or without a running loop.

    Raises ConfigError with aiohttp's version and what is not as it has to be.
    """
    failures: list[str] = []
    loop = asyncio.new_event_loop()
    try:
        for probe in (_probe_protocol, _probe_body, _probe_count, _probe_error, _probe_writer, _probe_parts):
            try:
                probe(loop)
            except Exception as error:  # whatever a changed aiohttp may raise
                failures.append(f"{(probe.__doc__ or '').partition(':')[0]} ({type(error).__name__}: {error})")
    finally:
        loop.close()
    if failures:
        raise ConfigError(
            f"headgate does not work with aiohttp {aiohttp.__version__}, which has changed: {'; '.join(failures)}."
            " Install a version that this headgate was released with."
        )


class _Sink(asyncio.Transport):
    """A transport that remembers what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None:
        """Nothing is read."""

    def close(self) -> None:
        """Nothing is open."""


class _Protocol(ServerProtocol):
    """A protocol that remembers which errors it was asked to answer."""

    __slots__ = ("asked",)

    asked: BaseException

    @property
    def written(self) -> bytes:
        return cast("_Sink", self.transport).written

    def error_handler(self, error: BaseException) -> Any:
        self.asked = error
        return _answer


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


def _protocol(loop: asyncio.AbstractEventLoop, head: bytes = b"") -> _Protocol:
    """A protocol whose client has sent `head`."""
    protocol = _Protocol(web.Server(_answer, loop=loop, keepalive_timeout=1.0), loop=loop)
    protocol.transport = _Sink()
    if head:
        protocol.data_received(head)
    return protocol


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What `coroutine` returns, which must not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    finally:
        coroutine.close()
    raise RuntimeError("it waits")


def _expect(holds: object, what: str) -> None:
    if not holds:
        raise RuntimeError(what)


def _received(protocol: _Protocol) -> tuple[web.BaseRequest, StreamReader]:
    """The request of which `protocol` has received the head, and its body."""
    message, content = protocol._messages.popleft()
    _expect(isinstance(content, StreamReader), "a body is no StreamReader")
    writer = StreamWriter(protocol, protocol._loop)
    nothing: Any = None
    head: Any = message
    return web.BaseRequest(head, content, protocol, writer, nothing, protocol._loop), content


def _probe_protocol(loop: asyncio.AbstractEventLoop) -> None:
    """ServerProtocol: made as the server makes its own, with its state readable, and asked about queued errors."""
    protocol, error = _protocol(loop), ValueError()
    _expect(protocol.answering is None and not protocol.is_ending, "a new protocol answers, or ends")
    _expect(not protocol.has_queued and not protocol.is_waiting, "a new protocol has received a request, or waits")
    _expect(not protocol.has_answered_all, "a new protocol has answered")
    protocol._waiter = loop.create_future()
    _expect(protocol.is_waiting and protocol.has_answered_all, "a protocol that waits is not known by it")
    protocol.queue_error(400, error)
    _expect(protocol.has_queued and not protocol.is_waiting, "a queued error is not queued")
    queued: Any = protocol._messages[0][0]
    protocol._make_error_handler(queued)
    _expect(protocol.asked is error, "a queued error is not the one that is answered")
    protocol.force_close()
    _expect(protocol.is_ending, "an end is not known by it")


def _probe_body(loop: asyncio.AbstractEventLoop) -> None:
    """drain_buffered: what has been received of a body, though its connection is lost."""
    protocol = _protocol(loop, _CHUNKED)
    _, content = _received(protocol)
    _expect(drain_buffered(content) == b"", "there are bytes that were not received")
    protocol.data_received(b"5\r\nhello\r\n")
    content.set_exception(ConnectionResetError())
    _expect(drain_buffered(content) == b"hello", "bytes that were received are not there")


def _probe_count(loop: asyncio.AbstractEventLoop) -> None:
    """count_as_received: a body that was received past the parser has ended, and the next request is read."""
    protocol = _protocol(loop, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 600000\r\n\r\n")
    request, content = _received(protocol)
    count_as_received(request, 600_000)
    _expect(content.is_eof() and drain_buffered(content) == b"", "a body that was counted has not ended")
    protocol.data_received(_CHUNKED)
    _expect(protocol.has_queued, "the request after a body that was counted is not read")


def _probe_error(loop: asyncio.AbstractEventLoop) -> None:
    """has_broken_framing: the parser queues an error where a chunk is none."""
    protocol = _protocol(loop, _CHUNKED)
    request, content = _received(protocol)
    _expect(not has_broken_framing(request), "a good body counts as broken")
    protocol.data_received(b"no size\r\n")
    # aiohttp's parser in Python, which it has where its C parser was not built, tells the reader of the body instead.
    _expect(has_broken_framing(request) or content.exception() is not None, "a broken body is not noticed")


def _probe_writer(loop: asyncio.AbstractEventLoop) -> None:
    """write_now, write_interim: writes that do not wait, and that do not count."""
    protocol = _protocol(loop, _CHUNKED)
    request, _ = _received(protocol)
    _run(write_interim(request, b"interim"))
    _expect(request.writer.output_size == 0, "an interim response counts as an answer")
    _expect(write_now(request, b"body"), "a connection counts as lost")
    _expect(request.writer.output_size == 4, "what is written is not counted")
    _expect(protocol.written == b"interimbody", "what is written does not reach the transport")


def _probe_parts(loop: asyncio.AbstractEventLoop) -> None:
    """PartsReader: asked by which headers a part is to be read."""

    class Content:
        def __init__(self) -> None:
            self.lines = [b"\r\n", b"Content-Type: multipart/mixed; boundary=c\r\n", b"--b\r\n"]

        async def readline(self, **limits: int) -> bytes:
            return self.lines.pop()

    class Reader(PartsReader):
        def headers_to_read_by(self, headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
            return CIMultiDictProxy(CIMultiDict({hdrs.CONTENT_TYPE: "text/plain"}))

    content: Any = Content()
    part = _run(Reader({hdrs.CONTENT_TYPE: "multipart/mixed; boundary=b"}, content).next())
    _expect(isinstance(part, BodyPartReader) and not isinstance(part, MultipartReader), "a part is read by its own")
