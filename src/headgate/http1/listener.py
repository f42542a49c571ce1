"""Accepting connections: as many as there may be, and no more from one address than that has coming.

Rules of this room:

- Connections beyond the bound wait in the kernel's queue, and nothing is spent on them. Descriptors are kept free for
  the files of those that are served.
- What goes on for long (no descriptor left, too many connections) is said once a minute, not once a connection.
- A client that takes nothing of its answer for too long is let go. A transfer has its own watch, which knows of pauses.
"""

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from headgate.config import Config
from headgate.http1.connection import Connection
from headgate.lowlevel.sockets import acknowledged_bytes

__all__ = ["Listener"]

logger = logging.getLogger("headgate.http1")

#: Connections that the kernel keeps until they are accepted.
BACKLOG = 1024

#: Connections that are accepted in one turn of the loop.
AT_ONCE = 64

#: Descriptors that no connection may take, whatever the limit: the process's own, and a few files.
RESERVED = 64

#: Bytes of unfinished heads that all connections may keep together.
MAX_UNFINISHED = 64 * 1024 * 1024

#: Seconds between two words of the log on the same trouble...
SILENCE = 60.0
#: ...and until accepting is tried again, where it failed.
AGAIN = 0.5


class Listener:
    """The sockets on which `server` is reached. `excused`: is this request one that is watched by others?"""

    def __init__(
        self,
        server: web.Server,
        config: Config,
        *,
        tls: ssl.SSLContext | None,
        excused: Callable[[web.BaseRequest], bool],
    ) -> None:
        self._server = server
        self._config = config
        self._tls = tls
        self._excused = excused
        self.max_head_size = config.max_head_size
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A transfer has a connection and a file, each with a descriptor.
        self._most = max(1, min(config.max_connections, (limit - RESERVED) // 2))
        # One address leaves some of them to others.
        self._most_of_one = max(1, min(config.max_connections_per_address, self._most * 7 // 8))
        self._unfinished = 0
        self._connections: set[Connection] = set()
        self._number = 0  # of connections, those included whose TLS has just begun
        self._of: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []
        self._accepting = False
        self._beginning: set[asyncio.Task[None]] = set()
        self._said: dict[str, float] = {}
        self._watching: asyncio.Task[None] | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen on all addresses of `host`; return the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, address in dict.fromkeys((each[0], each[4]) for each in found):
                sock = socket.socket(family, socket.SOCK_STREAM)
                self._sockets.append(sock)
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family is socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((address[0], port, *address[2:]))
                port = sock.getsockname()[1]
                sock.listen(BACKLOG)
        except BaseException:
            self._close_sockets()
            raise
        self._accept_more()
        self._watching = asyncio.create_task(self._watch())
        return port

    def _accept_more(self) -> None:
        if not self._accepting and self._sockets:
            self._accepting = True
            for sock in self._sockets:
                asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)

    def _accept_no_more(self) -> None:
        if self._accepting:
            self._accepting = False
            for sock in self._sockets:
                asyncio.get_running_loop().remove_reader(sock.fileno())

    async def close(self) -> None:
        """Accept no more, and let go of those that are in the middle of beginning."""
        if self._watching is not None:
            self._watching.cancel()
        self._accept_no_more()
        self._close_sockets()
        for task in self._beginning:
            task.cancel()
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            if self._number >= self._most:
                self._say("all %d connections that may be are taken; others wait", self._most)
                self._accept_no_more()
                return
            try:
                accepted, peer = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._say("no connection can be accepted: %s", error.strerror)
                self._accept_no_more()
                asyncio.get_running_loop().call_later(AGAIN, self._accept_more)
                return
            address = str(peer[0])
            if self._of[address] >= self._most_of_one:
                accepted.close()
                self._say("%s has as many connections as one address may have", address)
                continue
            self._number += 1
            self._of[address] += 1
            accepted.setblocking(False)
            task = asyncio.create_task(self._begin(accepted, address))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket, address: str) -> None:
        connection = Connection(self._server, self)
        connection.address = address
        self._connections.add(connection)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted, ssl=self._tls)
        except (OSError, ssl.SSLError, asyncio.CancelledError) as error:
            with contextlib.suppress(OSError):
                accepted.close()
            self.lost(connection)
            if isinstance(error, asyncio.CancelledError):
                raise

    def _say(self, text: str, *facts: object) -> None:
        now = time.monotonic()
        if now - self._said.get(text, -SILENCE) >= SILENCE:
            self._said[text] = now
            logger.warning(text, *facts)

    # For connections.

    def keeps(self, more: int) -> bool:
        """See ``connection.Bounds``."""
        self._unfinished += more
        return self._unfinished <= MAX_UNFINISHED

    def lost(self, connection: Connection) -> None:
        """See ``connection.Bounds``."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._number -= 1
        self._of[connection.address] -= 1
        if not self._of[connection.address]:
            del self._of[connection.address]
        self._accept_more()

    # Answers that nobody reads.

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._config.watch_interval)
            for number, connection in enumerate(list(self._connections), 1):
                self._look_at(connection)
                if not number % 1000:
                    await asyncio.sleep(0)

    def _look_at(self, connection: Connection) -> None:
        transport, request = connection.transport, connection.answering
        waiting = transport is not None and transport.get_write_buffer_size()
        if transport is None or not waiting or (request is not None and self._excused(request)):
            connection.progress = None
            return
        now, taken = time.monotonic(), acknowledged_bytes(transport) or -waiting
        if connection.progress is None:
            connection.progress = (taken, now, taken, now)
        moved, moved_at, began, began_at = connection.progress
        if taken != moved:
            moved, moved_at = taken, now
        config = self._config
        slow = now - began_at >= config.min_rate_window
        if now - moved_at >= config.idle_timeout or (slow and taken - began < config.min_rate * (now - began_at)):
            logger.info("a client takes nothing of its answer, or too little; its connection ends")
            transport.abort()
            return
        connection.progress = (moved, moved_at, *((taken, now) if slow else (began, began_at)))

    async def flush(self, seconds: float) -> None:
        """Give answers that are under way so long to be taken; whoever has not taken theirs then is let go."""
        until = time.monotonic() + seconds
        while (waiting := self._unsent()) and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells when that is
            await asyncio.sleep(0.05)
        for transport in waiting:
            transport.abort()

    def _unsent(self) -> list[asyncio.Transport]:
        transports = [each.transport for each in self._connections if each.transport is not None]
        return [transport for transport in transports if transport.get_write_buffer_size()]
