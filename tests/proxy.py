"""A way to a server that breaks: a TCP proxy that cuts connections in the middle of what they carry, and counts it.

What counts are bytes of requests' bodies that were handed on to the server. Heads and the framing of chunked bodies
pass, and do not count.
"""

import asyncio
import itertools
import math
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

from yarl import URL

from support import PATIENCE

PIECE = 64 * 1024

#: Linger for no time: closing the socket resets the connection.
RESET = struct.pack("ii", 1, 0)


def every(size: int) -> Iterator[int]:
    """A cut after every `size` bytes."""
    return itertools.repeat(size)


def at_random(seed: int, least: int, most: int) -> Iterator[int]:
    """Cuts that are `least` to `most` bytes apart."""
    numbers = random.Random(seed)
    while True:
        yield numbers.randint(least, most)


class Requests:
    """One connection's requests, taken apart as far as it takes to tell bodies from the rest. HTTP/1.1, as clients
    send it: bodies have a length or are chunked."""

    def __init__(self) -> None:
        self.began: list[str] = []  #: their methods
        self._line = bytearray()
        self._first = True
        self._on_line: Callable[[bytes], None] = self._head
        self._left = 0  #: bytes of a body that come before the next line
        self._length = 0
        self._chunked = False

    def take(self, data: bytes, at_most: float) -> tuple[int, int]:
        """How much of `data` may pass so that `at_most` bytes of bodies do, and how many these are."""
        position = body = 0
        while position < len(data) and body < at_most:
            if self._left:
                size = int(min(self._left, len(data) - position, at_most - body))
                position, body, self._left = position + size, body + size, self._left - size
                continue
            end = data.find(b"\n", position) + 1 or len(data)
            self._line += data[position:end]
            position = end
            if self._line.endswith(b"\n"):
                line = bytes(self._line).strip()
                self._line.clear()
                self._on_line(line)
        return position, body

    def _head(self, line: bytes) -> None:
        if self._first and line:
            self.began.append(line.split()[0].decode())
            self._first = False
            return
        name, _, value = line.lower().partition(b":")
        if name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            self._chunked = value.strip() == b"chunked"
        elif not line:
            if self._chunked:
                self._on_line = self._chunk
            self._left, self._length, self._chunked, self._first = self._length, 0, False, True

    def _chunk(self, line: bytes) -> None:
        if line:  # and not the end of the chunk before
            self._left = int(line.partition(b";")[0], 16)
            if not self._left:
                self._on_line = self._trailer

    def _trailer(self, line: bytes) -> None:
        if not line:
            self._on_line = self._head


class Proxy:
    """Relays connections to `server`. After each of `cuts` bytes, whichever connections they came on, the one that
    had the last of them is cut: what came before is handed on, what comes after is lost, and both sides see it end.

    `reset`: they see it reset; what was handed on last may then be lost as well.
    """

    def __init__(self, server: URL, cuts: Iterator[int], *, reset: bool) -> None:
        self.url = ""
        self.forwarded = 0  #: bytes of bodies, in all
        self.cut = 0  #: connections
        self.asked: Counter[str] = Counter()  #: requests, by method
        self._server = server
        self._cuts = cuts
        self._left: float = next(cuts, math.inf)
        self._reset = reset
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> asyncio.Server:
        listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = str(self._server.with_port(listener.sockets[0].getsockname()[1])).rstrip("/")
        return listener

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        back: asyncio.Task[None] | None = None
        to_server: asyncio.StreamWriter | None = None
        try:
            from_server, to_server = await asyncio.open_connection(self._server.host, self._server.port)
            to_server.transport.set_write_buffer_limits(high=0)  # so that `drain` waits until all of it has left
            back = asyncio.create_task(self._answer(from_server, to_client))
            if await self._ask(from_client, to_server):
                self.cut += 1
                end(to_client, reset=self._reset)
            if self._reset:
                end(to_server, reset=True)
            else:
                to_server.write_eof()
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(back)
        except OSError:  # of either side; the timeout is one
            pass
        finally:
            for writer in (to_client, to_server):
                if writer is not None:
                    writer.transport.abort()
            if back is not None:
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)

    async def _ask(self, from_client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> bool:
        """Hand on what the client sends. Was it enough for a cut?"""
        requests = Requests()
        while data := await from_client.read(PIECE):
            size, body = requests.take(data, self._left)
            self.asked.update(requests.began)
            requests.began.clear()
            self.forwarded += body
            self._left -= body
            enough = not self._left
            if enough:
                self._left = next(self._cuts, math.inf)
            to_server.write(data[:size])
            await to_server.drain()
            if enough:
                return True
        return False

    async def _answer(self, from_server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Hand on what the server sends. To a client that was cut off nothing goes any more."""
        while data := await from_server.read(PIECE):
            if not to_client.is_closing():
                to_client.write(data)
                await to_client.drain()
        to_client.close()


def end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close a connection at once."""
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@asynccontextmanager
async def breaking(url: str, cuts: Iterable[int] = (), *, reset: bool = False) -> AsyncIterator[Proxy]:
    """A proxy before the server at `url`."""
    proxy = Proxy(URL(url), iter(cuts), reset=reset)
    async with await proxy.start():
        try:
            yield proxy
        finally:
            await proxy.close()
