"""Receiving from the socket of a transport, under a descriptor of its own.

An event loop refuses to watch the descriptor of a transport, so the socket is duplicated. The transport must not read
meanwhile: both have the same socket.
"""

import asyncio
from collections.abc import Callable

from headgate.lowlevel.sockets import socket_of

__all__ = ["DuplicateSocket"]


class DuplicateSocket:
    """A duplicate of the socket of `transport`. Raises OSError if there is no descriptor left. Must be closed."""

    __slots__ = ("_socket",)

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        original = socket_of(transport)
        if original is None:
            raise OSError("the transport has no socket")
        self._socket = original.dup()
        self._socket.setblocking(False)

    def receive(self, most: int) -> bytes | None:
        """Up to `most` bytes; no bytes if the client sends no more; None if none have come yet. Raises
        ConnectionResetError, whatever the network says of it: the client is lost."""
        try:
            return self._socket.recv(most)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ConnectionResetError from error

    def receive_into(self, room: memoryview) -> int | None:
        """Receive into `room` and return how many bytes came; 0 if the client is lost or sends no more; None if none
        have come yet."""
        try:
            return self._socket.recv_into(room)
        except BlockingIOError:
            return None
        except OSError:
            return 0

    async def readable(self) -> None:
        """Wait until there is something to receive."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.watch(_wake, ready)
        try:
            await ready
        finally:
            self.unwatch()

    def watch(self, callback: Callable[["asyncio.Future[None]"], None], future: "asyncio.Future[None]") -> None:
        """Have `callback` called with `future` in every turn of the loop in which there is something to receive."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), callback, future)

    def unwatch(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())

    def close(self) -> None:
        self._socket.close()


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
