"""A large body, received straight from its socket.

aiohttp receives 256 KiB at a time, parses them, copies them, and wakes whoever waits for them. For a body whose length
is known nothing of that is needed. What comes fast is received into memory from which a disk can take it by itself
(`lowlevel.page_memory`), so that the processor touches each byte once, on its way out of the socket
(docs/performance.md).

Rules of this room:

- Only where it pays and is sure: a length that is known, and much of it still to come, over a plain connection.
- aiohttp's parser never sees what is received here, so the connection cannot serve another request. Nobody has to know:
  for aiohttp the body has not been read to its end, and it ends such connections after the answer.
- As long as this reads, the transport does not; both have the same socket, under descriptors of their own.
- Nothing is received ahead of being asked for: what was not asked for yet is the kernel's, and holds its sender up.
- Two blocks of memory take turns: what was read last may still be on its way to the disk while more is received.
"""

import asyncio
import contextlib
import socket
import time
import weakref

from aiohttp import web

from headgate.errors import Busy
from headgate.lowlevel.aiohttp_internals import drain_buffered
from headgate.lowlevel.page_memory import PAGE, Data, aligned
from headgate.lowlevel.sockets import is_plain, socket_of

__all__ = ["DirectReader", "direct_reader"]

#: Bytes of a body from which on it is received so. A client that sends one such file after the other has to connect
#: for each; from here on that is lost in the noise, even over a long way.
FROM = 64 * 1024 * 1024

#: Bytes received at once into a block: what it costs to have a thread write it is spread over as many.
BLOCK = 2 * 1024 * 1024
#: So many receive into blocks at once: that bounds the memory that they need, twice a block each.
MOST = 8
#: So many receives in a row that brought all that was asked for show that the client is fast enough for it.
FAST = 4
#: Seconds after which a block goes on as it is. Whoever fills it no sooner is not that fast.
LATE = 0.05

#: Bytes asked for at once of whoever does not come back at once, being paused, narrowed or on a slow disk.
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
    """The content of `request`, of which `length` bytes are to come. Must be closed."""

    __slots__ = (
        *("__weakref__", "_back_at", "_blocks", "_end", "_filling", "_full", "_left", "_new", "_request", "_socket"),
        *("_stopped", "_turn"),
    )

    def __init__(self, request: web.Request, length: int) -> None:
        self._request = request
        self._left = length
        self._socket: socket.socket | None = None  # from the first read on
        self._turn = 0  # bytes received since the others had theirs
        self._back_at = 0.0  # when it was asked last, on the monotonic clock
        self._full = 0  # receives in a row that brought all that was asked for
        self._stopped = False  # only what is here already is still of interest
        self._blocks: list[memoryview] = []  # while it is fast; the first is to be filled next
        self._filling: memoryview | None = None
        self._new = self._end = 0  # from where to where there is what was not handed out yet

    async def readany(self, held: bytes = b"", at: int = 0) -> Data:
        """`held`, and after it whatever is there, at least a byte; none at the end. Raises ConnectionError, or Busy.

        `at`: where in a file it will be written.
        """
        if self._socket is None and self._left and (received := self._take_over()):
            return held + received
        if not self._left:
            return b""
        soon = time.monotonic() - self._back_at < SOON
        try:
            data = await self._fill(held, at) if self._is_fast(soon) else held + await self._next(soon)
        except ConnectionError:
            await self._lost()
            raise
        self._back_at = time.monotonic()
        return data

    def rest(self) -> bytes:
        """What is here and was not asked for, whatever became of the connection since."""
        self._stopped = True
        received = b"" if self._filling is None else bytes(self._filling[self._new : self._end])
        self._slow_down()
        if not self._left:  # what aiohttp takes for more of this body is another request
            return received
        if self._socket is None:
            received = self._take_over()
        with contextlib.suppress(ConnectionError):
            while self._left and len(received) < REST and (data := self._receive(SHARE)):
                received += data
        return received

    def close(self) -> None:
        """Leave the connection to aiohttp again, as far as it is still one."""
        self._slow_down()
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
        if self._turn >= _share():
            self._turn = 0
            await asyncio.sleep(0)
        most = SHARE if soon else LEAST
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
        """Is it to be received into blocks now?"""
        if not soon:
            self._slow_down()
        elif not self._blocks and self._full >= FAST and not self._stopped and _has_place():
            _fast.add(self)
            self._blocks = [aligned(BLOCK), aligned(BLOCK)]
        return bool(self._blocks)

    @property
    def _away(self) -> bool:
        """Does whoever reads do something else for long: is it paused, or its disk slow?"""
        return self._filling is None and time.monotonic() - self._back_at >= SOON

    def _slow_down(self) -> None:
        _fast.discard(self)
        self._blocks, self._filling, self._full = [], None, 0

    async def _fill(self, held: bytes, at: int) -> Data:
        """What comes within `LATE`, up to a block of it, lying in its pages as it will lie in those of the file."""
        assert self._socket is not None
        self._blocks.reverse()
        block = self._filling = self._blocks[0]
        start = at % PAGE
        self._new = self._end = start + len(held)
        block[start : self._new] = held
        loop, descriptor = asyncio.get_running_loop(), self._socket.fileno()
        filled: asyncio.Future[None] = loop.create_future()
        late = loop.call_later(LATE, self._late, filled)
        loop.add_reader(descriptor, self._more, block, filled)
        try:
            await filled
        finally:
            late.cancel()
            loop.remove_reader(descriptor)
        self._filling = None
        if self._end == self._new:  # nothing comes any more, or not soon
            return held + await self._next(soon=True)
        data: Data = block[start : self._end]
        if not self._blocks:
            data = bytes(data)  # of a slow client nobody is to keep a block
        if not self._left:
            self.close()
        return data

    def _more(self, block: memoryview, filled: "asyncio.Future[None]") -> None:
        """Receive this one's share. An error, or the end, is met again by the next read."""
        if filled.done():
            return
        assert self._socket is not None
        try:
            got = self._socket.recv_into(block[self._end : self._end + min(_share(), self._left)])
        except BlockingIOError:
            return
        except OSError:
            got = 0
        self._end += got
        self._left -= got
        if not got or not self._left or self._end == len(block):
            filled.set_result(None)

    def _late(self, filled: "asyncio.Future[None]") -> None:
        """What is there goes on."""
        _fast.discard(self)
        self._blocks, self._full = [], 0
        if not filled.done():
            filled.set_result(None)


#: Whoever has a socket now, in all applications of the process: they share its loop. And who receives into blocks.
_reading: "weakref.WeakSet[DirectReader]" = weakref.WeakSet()
_fast: "weakref.WeakSet[DirectReader]" = weakref.WeakSet()


def _has_place() -> bool:
    """May another receive into blocks? Those who are away make room."""
    if len(_fast) >= MOST:
        for each in list(_fast):
            if each._away:
                each._slow_down()
    return len(_fast) < MOST


def _share() -> int:
    return max(SHARE, TURN // max(1, len(_reading)))


def direct_reader(request: web.Request) -> DirectReader | None:
    """One for the content of `request`, if it is worth one and can have one."""
    length, transport = request.content_length or 0, request.transport
    if length < FROM or not isinstance(transport, asyncio.ReadTransport):
        return None
    if socket_of(transport) is None or not is_plain(transport):
        return None
    return DirectReader(request, length)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
