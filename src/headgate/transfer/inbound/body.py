"""The bytes of a request's body: every one passes here, is counted, and is bounded.

A small body, or one over TLS, comes from aiohttp's `StreamReader`; a large one over a plain connection straight from
its socket (`direct.py`). A parser that has read too far puts the end back (`unread`) and reads it again.

Rules of this file:

- The limit is checked while the body streams, whatever its Content-Length says.
- Foreign exceptions are translated here: a malformed transfer encoding is MalformedTransfer, a lost client
  Disconnected.
- A body that may be large is closed when nothing more is read of it.
"""

from aiohttp import web

from headgate.errors import Disconnected, MalformedTransfer, TooLarge
from headgate.lowlevel.aiohttp_internals import drain_buffered
from headgate.lowlevel.page_memory import Data, PageBuffer
from headgate.lowlevel.readable_size import readable
from headgate.transfer.digester import Digester
from headgate.transfer.inbound.direct import direct_reader
from headgate.transfer.watchdog import ClientWait

__all__ = ["Body"]


class Body:
    """The body of `request`, of at most `limit` bytes. Every byte of it passes the `digester`, if it computes anything.

    What reads the body as a file says in `buffer` where in the file the next byte belongs. Must be closed.
    """

    __slots__ = ("_digester", "_direct", "_limit", "_request", "_unread", "_unread_at", "buffer", "consumed", "waited")

    def __init__(self, request: web.Request, *, limit: int, digester: Digester | None = None) -> None:
        self.buffer = PageBuffer()
        self._request = request
        self._digester = digester or None
        self._direct = direct_reader(request, self.buffer)
        self._limit = limit
        # What was given back: all of it from `_unread_at` on. An offset, because cutting lines off the front one by one
        # would copy the rest each time.
        self._unread = b""
        self._unread_at = 0
        #: How long the server has been waiting for the client.
        self.waited = ClientWait()
        #: Bytes taken in so far, not counting what was given back.
        self.consumed = 0

    async def read(self) -> Data:
        """What `buffer` has kept, and after it whatever is there, at least a byte; none at the end of the body.

        The memory of a memoryview is used again by the second read from now on. If cancelled, no byte is lost that has
        not passed the digester. Raises TooLarge, MalformedTransfer, Disconnected.
        """
        buffer = self.buffer
        if self._unread:
            return buffer.hand_out(self.read_unread(len(self._unread)))
        kept = len(buffer.kept)
        try:
            with self.waited:
                if self._direct is not None:
                    data = await self._direct.read()
                else:
                    data = await self._request.content.readany()
                    data = buffer.hand_out(data) if data else data
        except ConnectionError as error:
            error.__traceback__ = None  # it refers to a frame of aiohttp's that refers to it: a reference cycle
            raise Disconnected from None
        except web.RequestPayloadError:
            raise MalformedTransfer from None
        except RuntimeError:
            if self._request.transport is None:  # how a StreamReader reports that the connection is closed
                raise Disconnected from None
            raise
        if not data:
            return data
        self.consumed += len(data) - kept
        if self.consumed > self._limit:
            raise TooLarge(f"The body may have {readable(self._limit)}.")
        if self._digester is not None:
            # A cancellation here loses `data`: content with a digest is kept as a whole or not at all.
            await self._digester.take(data[kept:])
        return data

    def drain_buffered(self) -> bytes:
        """What this process has received and nobody has read, whatever became of the connection since.

        No bytes if they would exceed the limit. They do not pass the digester.
        """
        data = drain_buffered(self._request.content) if self._direct is None else self._direct.drain_buffered()
        self.consumed += len(data)
        return data if self.consumed <= self._limit else b""

    def close(self) -> None:
        """Nothing more is read of the body: leave the connection to aiohttp."""
        if self._direct is not None:
            self._direct.close()

    def unread(self, data: Data) -> None:
        """Give back `data`, the end of what was read last: the next read begins with it."""
        assert not self._unread
        self._unread = bytes(data)
        self._unread_at = 0
        self.consumed -= len(data)

    def read_unread(self, size: int) -> bytes:
        """Up to `size` bytes of what was given back."""
        data = self._unread[self._unread_at : self._unread_at + size]
        self._unread_at += len(data)
        self.consumed += len(data)
        if self._unread_at == len(self._unread):
            self._unread = b""
        return data
