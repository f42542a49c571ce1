"""Receiving a large body straight from its socket, past aiohttp's parser.

aiohttp receives 256 KiB at a time, parses them, copies them, and wakes the handler. A body of known length needs none
of that. A `DirectReader` begins with what aiohttp has received. Once a read brings much at once, it receives the rest
itself, from a duplicate of the socket, when its caller reads; and from then on into the blocks of a `PageBuffer`, which
can be written with O_DIRECT: then the processor copies each byte only once, out of the socket (docs/performance.md).

Rules of this file:

- Only for a body whose length is known, larger than a small file, over a plain connection, from a client that is fast:
  a slow one does not need a second descriptor, and where there is none left, the body comes by way of aiohttp.
- aiohttp's parser never sees these bytes. After a body of up to `KEPT_CONNECTION_BYTES` it is told that they came, and
  the connection serves the next request. After a larger one that would cost more than another connection: to aiohttp
  the body has not ended, and it closes the connection after the answer by itself.
- While a reader reads, the transport does not: both have the same socket, under two descriptors.
- Nothing is received before the caller reads: it stays in the kernel's buffers, and TCP slows the client down.
- All readers of the process share its loop, and its memory for blocks: `_reading` and `_fast` hold them.
"""

import asyncio
import contextlib
import time
import weakref

from aiohttp import web

from headgate.lowlevel.aiohttp_internals import count_as_received, drain_buffered
from headgate.lowlevel.page_memory import Data, PageBuffer
from headgate.lowlevel.sockets import is_plain, socket_of
from headgate.transfer.inbound.duplicate_socket import DuplicateSocket

__all__ = ["DirectReader", "direct_reader"]

#: The smallest body, in bytes, that is received so: smaller ones are kept in memory until they are whole.
DIRECT_FROM_BYTES = 2 * 1024 * 1024 + 1

#: Bytes in one read from aiohttp that show that the client is fast: a quarter of what a transport receives at a time.
FAST_READ_BYTES = 64 * 1024

#: The largest part of a body, in bytes, after which the connection is kept. For more the time for another connection
#: does not matter, even over a long distance.
KEPT_CONNECTION_BYTES = 64 * 1024 * 1024

#: Bytes of a block: so many that the cost of handing it to a writing thread does not matter.
BLOCK_BYTES = 2 * 1024 * 1024
#: Readers that have blocks at once: that bounds the memory that they need, two blocks each, 64 MiB in all. With 16
#: clients at full speed it saves a quarter of the CPU time, compared to 8.
MAX_FAST_READERS = 16
#: Receives in a row that brought all that was asked for and so show that the client is fast enough for blocks.
FULL_RECEIVES = 1
#: Seconds after which a block is passed on though it is not full. A client that takes longer to fill it is not fast.
BLOCK_SECONDS = 0.05

#: Seconds within which the handler of a fast transfer reads again. One that does not is paused or slowed...
SOON_SECONDS = 0.02
#: ...and then receives this many bytes at a time.
UNHURRIED_BYTES = 64 * 1024

#: Bytes that all readers together receive in one turn of the loop, one or two milliseconds' work, in equal shares...
TURN_BYTES = 2 * 1024 * 1024
#: ...but no share is smaller than this, which is what asyncio's own transports receive at a time.
MIN_SHARE_BYTES = 256 * 1024

#: Bytes that are kept of what arrived for a stopped request: as much as a socket of Linux buffers by default.
MAX_DRAINED_BYTES = 6 * 1024 * 1024


class DirectReader:
    """The content of `request`, of which `length` bytes are to come, read into `buffer`. Must be closed."""

    __slots__ = (
        *("__weakref__", "_asked_at", "_buffer", "_full", "_left", "_only_drained", "_past", "_request", "_socket"),
        "_turn",
    )

    def __init__(self, request: web.Request, length: int, buffer: PageBuffer) -> None:
        self._request = request
        self._left = length
        self._past = 0  # bytes to be received past aiohttp's parser
        self._buffer = buffer  # it has blocks while the client is fast
        self._socket: DuplicateSocket | None = None  # once the client has shown to be fast
        self._turn = 0  # bytes received since other readers had their turn
        self._asked_at = 0.0  # when the last read ended, on the monotonic clock
        self._full = 0  # receives in a row that brought all that was asked for
        self._only_drained = False  # only what is here already is still of interest

    async def read(self) -> Data:
        """What the buffer has kept, and after it whatever is there, at least a byte; none at the end of the body.

        Raises ConnectionError, and what reading from aiohttp's StreamReader raises. If cancelled, no byte is lost: what
        was received meanwhile is had from `drain_buffered`.
        """
        if not self._left:
            return b""
        if self._socket is None:
            return self._buffer.hand_out(await self._parsed())
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
            received = self._take_parsed()
            self._take_over()
        with contextlib.suppress(ConnectionError):
            while self._left and len(received) < MAX_DRAINED_BYTES and (data := self._receive(MIN_SHARE_BYTES)):
                received += data
        return received

    def close(self) -> None:
        """Leave the connection to aiohttp again, unless it has been closed."""
        self._slow_down()
        if self._socket is not None:
            _reading.discard(self)
            self._socket.close()
            self._socket = None
            transport = self._request.transport
            if isinstance(transport, asyncio.ReadTransport) and not transport.is_closing():
                if not self._left and self._past <= KEPT_CONNECTION_BYTES:
                    count_as_received(self._request, self._past)
                transport.resume_reading()
            self._left = 0

    async def _abort(self) -> None:
        """Abort the transport: the client is gone, which aiohttp does not notice while the transport does not read."""
        if (transport := self._request.transport) is not None:
            transport.abort()
            await asyncio.sleep(0)

    # By way of aiohttp.

    async def _parsed(self) -> bytes:
        """What aiohttp has received, at least a byte. If that is much, aiohttp receives no more of the body."""
        data = await self._request.content.readany()
        self._left -= len(data)
        if len(data) >= FAST_READ_BYTES:
            data += self._take_parsed()
            self._take_over()
        return data

    def _take_parsed(self) -> bytes:
        """What aiohttp has received and nobody has read."""
        received = b""
        while more := drain_buffered(self._request.content):  # it parses more as there is room
            received += more
        self._left -= len(received)
        return received

    def _take_over(self) -> None:
        """Stop the transport from reading; the rest is received here. Not if there is no descriptor for it."""
        transport = self._request.transport
        if not self._left or transport is None:
            return
        with contextlib.suppress(OSError):
            self._socket = DuplicateSocket(transport)
            self._past = self._left
            _reading.add(self)
            transport.pause_reading()

    # Without blocks: whatever has arrived.

    async def _next(self, soon: bool) -> bytes:
        """At least a byte, as soon as one is there. Raises ConnectionError."""
        if self._turn >= _share_bytes():
            self._turn = 0
            await asyncio.sleep(0)
        most = MIN_SHARE_BYTES if soon else UNHURRIED_BYTES
        while (data := self._receive(most)) is None:
            assert self._socket is not None
            await self._socket.readable()
        if not data:
            raise ConnectionResetError
        self._turn += len(data)
        self._full = self._full + 1 if len(data) == most else 0
        return data

    def _receive(self, most: int) -> bytes | None:
        """Up to `most` bytes; none if none will come any more, None if none have come. Raises ConnectionError."""
        if self._socket is None:
            raise ConnectionResetError
        data = self._socket.receive(min(most, self._left))
        if data is None:
            return None
        self._left -= len(data)
        if not self._left:
            self.close()
        return data

    # With blocks.

    def _is_fast(self, soon: bool) -> bool:
        """Shall the next read receive into a block? Gives the reader its blocks, or takes them away."""
        if not soon:
            self._slow_down()
        elif not self._buffer.has_blocks and self._full >= FULL_RECEIVES and not self._only_drained and _has_room():
            _fast.add(self)
            self._buffer.allocate(BLOCK_BYTES)
        return self._buffer.has_blocks

    @property
    def _is_away(self) -> bool:
        """Has the handler not read for a while, because the job is paused, say, or the disk is slow?"""
        return not self._buffer.is_filling and time.monotonic() - self._asked_at >= SOON_SECONDS

    def _slow_down(self) -> None:
        """Give up the blocks."""
        _fast.discard(self)
        self._buffer.give_up()
        self._buffer.release()
        self._full = 0

    async def _fill(self) -> Data:
        """The bytes that arrive within `BLOCK_SECONDS`, at most a block; if none do, those that arrive next."""
        assert self._socket is not None
        buffer = self._buffer
        buffer.begin()
        loop = asyncio.get_running_loop()
        filled: asyncio.Future[None] = loop.create_future()
        late = loop.call_later(BLOCK_SECONDS, self._late, filled)
        self._socket.watch(self._receive_share, filled)
        try:
            await filled
        finally:
            late.cancel()
            self._socket.unwatch()
        if not buffer.has_received:  # nothing comes any more, or not soon
            buffer.give_up()
            return buffer.hand_out(await self._next(soon=True))
        data = buffer.take()
        if not self._left:
            self.close()
        return data

    def _receive_share(self, filled: "asyncio.Future[None]") -> None:
        """Receive this reader's share of a turn. An error, or the end, is reported by the next read."""
        if filled.done():
            return
        assert self._socket is not None
        size = self._socket.receive_into(self._buffer.room(min(_share_bytes(), self._left)))
        if size is None:
            return
        self._buffer.received(size)
        self._left -= size
        if not size or not self._left or self._buffer.is_full:
            filled.set_result(None)

    def _late(self, filled: "asyncio.Future[None]") -> None:
        """`BLOCK_SECONDS` have passed: pass on what has arrived, and give up the blocks."""
        _fast.discard(self)
        self._buffer.release()
        self._full = 0
        if not filled.done():
            filled.set_result(None)


#: Readers that have a socket now, in all applications of the process; and those that have blocks.
_reading: "weakref.WeakSet[DirectReader]" = weakref.WeakSet()
_fast: "weakref.WeakSet[DirectReader]" = weakref.WeakSet()


def _has_room() -> bool:
    """May another reader have blocks? Readers whose handlers do not read give theirs up."""
    if len(_fast) >= MAX_FAST_READERS:
        for each in list(_fast):
            if each._is_away:
                each._slow_down()
    return len(_fast) < MAX_FAST_READERS


def _share_bytes() -> int:
    """Bytes that one reader may receive in one turn of the loop."""
    return max(MIN_SHARE_BYTES, TURN_BYTES // max(1, len(_reading)))


def direct_reader(request: web.Request, buffer: PageBuffer) -> DirectReader | None:
    """A reader of the content of `request` into `buffer`; None if it is too small, or not over a plain connection."""
    length, transport = request.content_length or 0, request.transport
    if length < DIRECT_FROM_BYTES or not isinstance(transport, asyncio.ReadTransport):
        return None
    if socket_of(transport) is None or not is_plain(transport):
        return None
    return DirectReader(request, length, buffer)
