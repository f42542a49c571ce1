"""A large body, received straight from its socket.

aiohttp receives 256 KiB at a time, parses them, copies them, and wakes the handler that waits for them. For a body
whose length is known nothing of that is needed. A `DirectReader` receives as it is asked, from a duplicate of the
socket. From a client that has shown to be fast it receives into the blocks of a `PageBuffer`, from which a disk can
take the bytes by itself, so that the processor touches each byte once, on its way out of the socket
(docs/performance.md).

Rules of this room:

- Only where it pays and is sure: a length that is known, and much of it still to come, over a plain connection.
- aiohttp's parser never sees what is received here, so the connection cannot serve another request. Nothing has to be
  told: for aiohttp the body has not been read to its end, and it ends such connections after the answer.
- As long as this reads, the transport does not; both have the same socket, under descriptors of their own.
- Nothing is received ahead of being asked for: it stays the kernel's, and holds its sender up.
- All readers of the process share its loop, and its memory for blocks: `_reading` and `_fast` hold them.
"""

import asyncio
import contextlib
import socket
import time
import weakref

from aiohttp import web

from headgate.errors import Busy
from headgate.lowlevel.aiohttp_internals import drain_buffered
from headgate.lowlevel.page_memory import Data, PageBuffer
from headgate.lowlevel.sockets import is_plain, socket_of

__all__ = ["DirectReader", "direct_reader"]

#: Bytes of a body from which on it is received directly. A client that sends one such file after the other has to
#: connect for each; from here on that is lost in the noise, even over a long way.
DIRECT_FROM_BYTES = 64 * 1024 * 1024

#: Bytes of a block: what it costs to have a thread write it is spread over as many.
BLOCK_BYTES = 2 * 1024 * 1024
#: Readers that have blocks at once: that bounds the memory that they need, two blocks each.
MAX_FAST_READERS = 8
#: Receives in a row that brought all that was asked for and so show that the client is fast enough for blocks.
FULL_RECEIVES = 4
#: Seconds after which a block goes on as it is. A client that fills it no sooner is not that fast.
BLOCK_SECONDS = 0.05

#: Seconds within which a handler asks again at once. One that does not is paused, slowed, or has a slow disk...
SOON_SECONDS = 0.02
#: ...and receives so many bytes at once.
UNHURRIED_BYTES = 64 * 1024

#: Bytes that all readers together receive in one turn of the loop, a millisecond's work or two; each has its share...
TURN_BYTES = 2 * 1024 * 1024
#: ...but no less than this, which is what asyncio's own transports receive at once.
MIN_SHARE_BYTES = 256 * 1024

#: Bytes that are kept of what came for a request that was stopped: as much as a socket of Linux holds by default.
MAX_DRAINED_BYTES = 6 * 1024 * 1024


class DirectReader:
    """The content of `request`, of which `length` bytes are to come, read into `buffer`. Must be closed."""

    __slots__ = (
        *("__weakref__", "_asked_at", "_buffer", "_full", "_left", "_only_drained", "_request", "_socket", "_turn"),
    )

    def __init__(self, request: web.Request, length: int, buffer: PageBuffer) -> None:
        self._request = request
        self._left = length
        self._buffer = buffer  # it has blocks while the client is fast
        self._socket: socket.socket | None = None  # from the first read on
        self._turn = 0  # bytes received since other readers had their turn
        self._asked_at = 0.0  # when the last read ended, on the monotonic clock
        self._full = 0  # receives in a row that brought all that was asked for
        self._only_drained = False  # only what is here already is still of interest

    async def read(self) -> Data:
        """What the buffer has kept, and after it whatever is there, at least a byte; none at the end of the body.

        Raises ConnectionError, or Busy if there is no descriptor left. If cancelled, no byte is lost: what was received
        meanwhile is had from `drain_buffered`.
        """
        if self._socket is None and self._left and (received := self._take_over()):
            return self._buffer.hand_out(received)
        if not self._left:
            return b""
        soon = time.monotonic() - self._asked_at < SOON_SECONDS
        try:
            if self._is_fast(soon):
                data = await self._fill()
            else:
                data = self._buffer.hand_out(await self._next(soon))
        except ConnectionError:
            await self._abort()
            raise
        self._asked_at = time.monotonic()
        return data

    def drain_buffered(self) -> bytes:
        """What has arrived and was not read, whatever became of the connection since; the body is not read any more."""
        self._only_drained = True
        received = self._buffer.give_up()
        self._slow_down()
        if not self._left:  # what aiohttp takes for more of this body is another request
            return received
        if self._socket is None:
            received = self._take_over()
        with contextlib.suppress(ConnectionError):
            while self._left and len(received) < MAX_DRAINED_BYTES and (data := self._receive(MIN_SHARE_BYTES)):
                received += data
        return received

    def close(self) -> None:
        """Leave the connection to aiohttp again, if it still is one."""
        self._slow_down()
        if self._socket is not None:
            _reading.discard(self)
            self._socket.close()
            self._socket = None
            self._left = 0
            transport = self._request.transport
            if isinstance(transport, asyncio.ReadTransport) and not transport.is_closing():
                transport.resume_reading()

    async def _abort(self) -> None:
        """The client is gone: let aiohttp know, which does not look as long as the transport does not read."""
        if (transport := self._request.transport) is not None:
            transport.abort()
            await asyncio.sleep(0)

    def _take_over(self) -> bytes:
        """What aiohttp has received by now. What comes afterwards, this receives."""
        content, received = self._request.content, b""
        while more := drain_buffered(content):  # it parses more as there is room
            received += more
        self._left -= len(received)
        transport = self._request.transport
        sock = None if transport is None else socket_of(transport)
        if self._left and transport is not None and sock is not None:
            try:
                self._socket = sock.dup()
            except OSError as error:
                raise Busy("The server has no descriptor left for another upload.") from error
            self._socket.setblocking(False)
            _reading.add(self)
            transport.pause_reading()
        return received

    # As it comes.

    async def _next(self, soon: bool) -> bytes:
        """At least a byte, as soon as one is there. Raises ConnectionError."""
        if self._turn >= _share_bytes():
            self._turn = 0
            await asyncio.sleep(0)
        most = MIN_SHARE_BYTES if soon else UNHURRIED_BYTES
        while (data := self._receive(most)) is None:
            await self._readable()
        if not data:
            raise ConnectionResetError
        self._turn += len(data)
        self._full = self._full + 1 if len(data) == most else 0
        return data

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

    # In blocks.

    def _is_fast(self, soon: bool) -> bool:
        """Is the next read to receive into a block? Decides, too, whether the reader is to have blocks at all."""
        if not soon:
            self._slow_down()
        elif not self._buffer.has_blocks and self._full >= FULL_RECEIVES and not self._only_drained and _has_place():
            _fast.add(self)
            self._buffer.allocate(BLOCK_BYTES)
        return self._buffer.has_blocks

    @property
    def _is_away(self) -> bool:
        """Does the handler do something else for long: is the job paused, or its disk slow?"""
        return not self._buffer.is_filling and time.monotonic() - self._asked_at >= SOON_SECONDS

    def _slow_down(self) -> None:
        """Go on without blocks."""
        _fast.discard(self)
        self._buffer.give_up()
        self._buffer.release()
        self._full = 0

    async def _fill(self) -> Data:
        """What comes within `BLOCK_SECONDS`, up to a block of it; if nothing does, what comes next."""
        assert self._socket is not None
        buffer = self._buffer
        buffer.begin()
        loop, descriptor = asyncio.get_running_loop(), self._socket.fileno()
        filled: asyncio.Future[None] = loop.create_future()
        late = loop.call_later(BLOCK_SECONDS, self._late, filled)
        loop.add_reader(descriptor, self._receive_share, filled)
        try:
            await filled
        finally:
            late.cancel()
            loop.remove_reader(descriptor)
        if not buffer.has_received:  # nothing comes any more, or not soon
            buffer.give_up()
            return buffer.hand_out(await self._next(soon=True))
        data = buffer.take()
        if not self._left:
            self.close()
        return data

    def _receive_share(self, filled: "asyncio.Future[None]") -> None:
        """Receive this reader's share of a turn. An error, or the end, is met again by the next read."""
        if filled.done():
            return
        assert self._socket is not None
        try:
            size = self._socket.recv_into(self._buffer.room(min(_share_bytes(), self._left)))
        except BlockingIOError:
            return
        except OSError:
            size = 0
        self._buffer.received(size)
        self._left -= size
        if not size or not self._left or self._buffer.is_full:
            filled.set_result(None)

    def _late(self, filled: "asyncio.Future[None]") -> None:
        """What is there goes on; of a client that is not fast no block is kept."""
        _fast.discard(self)
        self._buffer.release()
        self._full = 0
        if not filled.done():
            filled.set_result(None)


#: Readers that have a socket now, in all applications of the process; and those that have blocks.
_reading: "weakref.WeakSet[DirectReader]" = weakref.WeakSet()
_fast: "weakref.WeakSet[DirectReader]" = weakref.WeakSet()


def _has_place() -> bool:
    """May another reader have blocks? Those whose handlers are away make room."""
    if len(_fast) >= MAX_FAST_READERS:
        for each in list(_fast):
            if each._is_away:
                each._slow_down()
    return len(_fast) < MAX_FAST_READERS


def _share_bytes() -> int:
    return max(MIN_SHARE_BYTES, TURN_BYTES // max(1, len(_reading)))


def direct_reader(request: web.Request, buffer: PageBuffer) -> DirectReader | None:
    """A reader of the content of `request` into `buffer`; None if the content is not worth it, or cannot have it."""
    length, transport = request.content_length or 0, request.transport
    if length < DIRECT_FROM_BYTES or not isinstance(transport, asyncio.ReadTransport):
        return None
    if socket_of(transport) is None or not is_plain(transport):
        return None
    return DirectReader(request, length, buffer)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
