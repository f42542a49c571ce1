"""Accepting connections: as many as there may be, and from one address no more than leaves some to others.

A `Listener` accepts while there are fewer connections than may be; further ones wait in the kernel's queue. Every
connection becomes a `Connection`, over TLS after the handshake. A timer looks at those whose clients have not taken
their answers yet, and ends those that take nothing, or too little.

Rules of this file:

- Nothing is spent on connections beyond the bound. Descriptors are kept free for the files of those that are served.
- What goes on for long (no descriptor left, too many connections) is logged once a minute, not once a connection.
- A transfer that is under way is not looked at: it has a watchdog of its own, which knows of pauses.
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
from headgate.http1.connection import AnswerProgress, Connection
from headgate.lowlevel.sockets import acknowledged_bytes

__all__ = ["Listener"]

logger = logging.getLogger("headgate.http1")

#: Connections that the kernel keeps in its queue until they are accepted.
BACKLOG_CONNECTIONS = 1024

#: Connections that are accepted from a socket in one turn of the loop.
ACCEPTS_PER_TURN = 64

#: Descriptors that no connection may take, whatever the limit: the process's own, and a few files.
RESERVED_DESCRIPTORS = 64

#: Bytes of unfinished heads that all connections may keep together.
MAX_UNFINISHED_BYTES = 64 * 1024 * 1024

#: Seconds between two lines of the log on the same trouble...
REPEAT_WARNING_SECONDS = 60.0
#: ...and until accepting is tried again after it failed.
RETRY_ACCEPT_SECONDS = 0.5


class Listener:
    """The sockets on which `server` is reached; what all its connections share.

    `has_watchdog` tells whether a request is a transfer under way, which is watched elsewhere.
    """

    def __init__(
        self,
        server: web.Server,
        config: Config,
        *,
        tls: ssl.SSLContext | None,
        has_watchdog: Callable[[web.BaseRequest], bool],
    ) -> None:
        self._server = server
        self._config = config
        self._tls = tls
        self._has_watchdog = has_watchdog
        self.max_head_size = config.max_head_size
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A transfer has a connection and a file, each with a descriptor.
        self._max_connections = max(1, min(config.max_connections, (limit - RESERVED_DESCRIPTORS) // 2))
        # One address leaves some of them to others.
        self._max_per_address = max(1, min(config.max_connections_per_address, self._max_connections * 7 // 8))
        self._unfinished_bytes = 0
        self._connections: set[Connection] = set()
        self._number = 0  # of connections, those included whose TLS has just begun
        self._number_by_address: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []
        self._accepting = False
        self._handshakes: set[asyncio.Task[None]] = set()
        self._warned_at: dict[str, float] = {}
        self._watch_task: asyncio.Task[None] | None = None

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
                sock.listen(BACKLOG_CONNECTIONS)
        except BaseException:
            self._close_sockets()
            raise
        self._start_accepting()
        self._watch_task = asyncio.create_task(self._watch())
        return port

    def _start_accepting(self) -> None:
        if not self._accepting and self._sockets:
            self._accepting = True
            for sock in self._sockets:
                asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)

    def _stop_accepting(self) -> None:
        if self._accepting:
            self._accepting = False
            for sock in self._sockets:
                asyncio.get_running_loop().remove_reader(sock.fileno())

    async def close(self) -> None:
        """Accept no more, and drop the connections that have not got through their handshake."""
        if self._watch_task is not None:
            self._watch_task.cancel()
        self._stop_accepting()
        self._close_sockets()
        for task in self._handshakes:
            task.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._number >= self._max_connections:
                self._warn("all %d connections that may be are taken; others wait", self._max_connections)
                self._stop_accepting()
                return
            try:
                accepted, peer = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._warn("no connection can be accepted: %s", error.strerror)
                self._stop_accepting()
                asyncio.get_running_loop().call_later(RETRY_ACCEPT_SECONDS, self._start_accepting)
                return
            address = str(peer[0])
            if self._number_by_address[address] >= self._max_per_address:
                accepted.close()
                self._warn("%s has as many connections as one address may have", address)
                continue
            self._number += 1
            self._number_by_address[address] += 1
            accepted.setblocking(False)
            task = asyncio.create_task(self._begin_connection(accepted, address))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _begin_connection(self, accepted: socket.socket, address: str) -> None:
        connection = Connection(self._server, self)
        connection.address = address
        self._connections.add(connection)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted, ssl=self._tls)
        except (OSError, ssl.SSLError, asyncio.CancelledError) as error:
            with contextlib.suppress(OSError):
                accepted.close()
            self.forget(connection)
            if isinstance(error, asyncio.CancelledError):
                raise

    def _warn(self, text: str, *facts: object) -> None:
        now = time.monotonic()
        if now - self._warned_at.get(text, -REPEAT_WARNING_SECONDS) >= REPEAT_WARNING_SECONDS:
            self._warned_at[text] = now
            logger.warning(text, *facts)

    # For connections (`ConnectionLimits`).

    def count_unfinished(self, more: int) -> bool:
        """See `ConnectionLimits`."""
        self._unfinished_bytes += more
        return self._unfinished_bytes <= MAX_UNFINISHED_BYTES

    def forget(self, connection: Connection) -> None:
        """See `ConnectionLimits`."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._number -= 1
        self._number_by_address[connection.address] -= 1
        if not self._number_by_address[connection.address]:
            del self._number_by_address[connection.address]
        self._start_accepting()

    # Answers that their clients do not take.

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
        if transport is None or not waiting or (request is not None and self._has_watchdog(request)):
            connection.progress = None
            return
        now, taken = time.monotonic(), acknowledged_bytes(transport) or -waiting
        seen = connection.progress or AnswerProgress(taken, now, taken, now)
        if taken != seen.taken:
            seen = seen._replace(taken=taken, moved_at=now)
        config, seconds = self._config, now - seen.window_began
        is_over = seconds >= config.min_rate_window
        too_slow = is_over and taken - seen.window_taken < config.min_rate * seconds
        if now - seen.moved_at >= config.idle_timeout or too_slow:
            logger.info("a client takes nothing of its answer, or too little; its connection ends")
            transport.abort()
            return
        connection.progress = seen._replace(window_taken=taken, window_began=now) if is_over else seen

    async def flush(self, seconds: float) -> None:
        """Wait up to so many seconds until clients have taken their answers; then abort what has not been taken."""
        until = time.monotonic() + seconds
        while (waiting := self._unsent()) and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells when that is
            await asyncio.sleep(0.05)
        for transport in waiting:
            transport.abort()

    def _unsent(self) -> list[asyncio.Transport]:
        transports = [each.transport for each in self._connections if each.transport is not None]
        return [transport for transport in transports if transport.get_write_buffer_size()]
