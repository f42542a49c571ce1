"""A large body, received straight from its socket.

aiohttp receives 256 KiB at a time, parses them, copies them, and wakes whoever waits for them. For a body whose length
is known nothing of that is needed, and it is a third of what an upload costs (docs/performance.md).

Rules of this room:

- Only where it pays and is sure: a length that is known, and much of it still to come, over a plain connection.
- aiohttp's parser never sees what is received here, so the connection cannot serve another request. Nobody has to know:
  for aiohttp the body has not been read to its end, and it ends such connections after the answer.
- As long as this reads, the transport does not; both have the same socket, under descriptors of their own.
- Nothing is received ahead of being asked for: what was not asked for yet is the kernel's, and holds its sender up.
"""

import asyncio
import contextlib
import socket
import time
import weakref

from aiohttp import web

from headgate.errors import Busy

__all__ = ["DirectReader", "direct_reader"]

#: Bytes of a body from which on it is received so. A client that sends one such file after the other has to connect
#: for each; from here on that is lost in the noise, even over a long way.
FROM = 64 * 1024 * 1024

#: Bytes asked for at once: the kernel works a third less than with 256 KiB, and more gains nothing.
MOST = 1024 * 1024
#: The same of whoever does not come back at once, being paused, narrowed or on a slow disk: it holds what it got.
LEAST = 64 * 1024
#: Seconds within which one comes back at once.
SOON = 0.02

#: Bytes that all together receive in one turn of the loop, a millisecond's work or two; each has its share of them...
TURN = 2 * 1024 * 1024
#: ...but no less than this, which is what asyncio's own transports receive at once.
SHARE = 256 * 1024

#: Bytes that are kept of what came for a request that was stopped: as much as a socket of Linux holds by default.
REST = 6 * 1024 * 1024


class DirectReader:
    """The content of `request`, of which `length` bytes are to come. Has the part of StreamReader's interface that a
    body reads by. Must be closed."""

    __slots__ = ("__weakref__", "_back_at", "_left", "_request", "_socket", "_turn")

    def __init__(self, request: web.Request, length: int) -> None:
        self._request = request
        self._left = length
        self._socket: socket.socket | None = None  # from the first read on
        self._turn = 0  # bytes received since the others had theirs
        self._back_at = 0.0  # when it was asked last, on the monotonic clock

    async def readany(self) -> bytes:
        """Whatever is there, at least a byte; none at the end. Raises ConnectionError, or Busy."""
        if self._socket is None and self._left and (received := self._take_over()):
            return received
        if not self._left:
            return b""
        share = min(MOST, max(SHARE, TURN // max(1, len(_reading))))
        if self._turn + LEAST > share:
            self._turn = 0
            await asyncio.sleep(0)
        most = share - self._turn if time.monotonic() - self._back_at < SOON else LEAST
        try:
            while (data := self._receive(most)) is None:
                await self._readable()
            if not data:
                raise ConnectionResetError
        except ConnectionError:
            await self._lost()
            raise
        self._turn += len(data)
        self._back_at = time.monotonic()
        return data

    def rest(self) -> bytes:
        """What is here and was not asked for, whatever became of the connection since."""
        if not self._left:  # what aiohttp takes for more of this body is another request
            return b""
        received = b"" if self._socket is not None else self._take_over()
        with contextlib.suppress(ConnectionError):
            while self._left and len(received) < REST and (data := self._receive(MOST)):
                received += data
        return received

    def close(self) -> None:
        """Leave the connection to aiohttp again, as far as it is still one."""
        if self._socket is not None:
            _reading.discard(self)
            self._socket.close()
            self._socket = None
            self._left = 0
            transport = self._request.transport
            if isinstance(transport, asyncio.ReadTransport) and not transport.is_closing():
                transport.resume_reading()

    async def _lost(self) -> None:
        """The client is gone: let aiohttp know, which does not look as long as the transport does not read."""
        if (transport := self._request.transport) is not None:
            transport.abort()
            await asyncio.sleep(0)

    def _take_over(self) -> bytes:
        """What aiohttp has received by now. What comes afterwards, this receives."""
        content, received = self._request.content, b""
        while content._buffer:  # it parses more as there is room
            received += content._read_nowait(-1)
        self._left -= len(received)
        transport = self._request.transport
        if self._left and transport is not None:
            try:
                self._socket = transport.get_extra_info("socket").dup()
            except OSError as error:
                raise Busy("The server has no descriptor left for another upload.") from error
            self._socket.setblocking(False)
            _reading.add(self)
            transport.pause_reading()
        return received

    def _receive(self, most: int) -> bytes | None:
        """Up to `most` bytes; none if none will come any more, None if none have come. Raises ConnectionError."""
        if self._socket is None:
            raise ConnectionResetError
        try:
            data = self._socket.recv(min(most, self._left))
        except BlockingIOError:
            return None
        except OSError as error:  # whatever the network says of it, the client is lost
            raise ConnectionResetError from error
        self._left -= len(data)
        if not self._left:
            self.close()
        return data

    async def _readable(self) -> None:
        assert self._socket is not None
        loop, descriptor = asyncio.get_running_loop(), self._socket.fileno()
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(descriptor, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)


#: Whoever has a socket now, in all applications of the process: they share its loop.
_reading: "weakref.WeakSet[DirectReader]" = weakref.WeakSet()


def direct_reader(request: web.Request) -> DirectReader | None:
    """One for the content of `request`, if it is worth one and can have one."""
    length, transport = request.content_length or 0, request.transport
    if length < FROM or not isinstance(transport, asyncio.ReadTransport):
        return None
    if transport.get_extra_info("sslcontext") is not None or transport.get_extra_info("socket") is None:
        return None
    return DirectReader(request, length)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
