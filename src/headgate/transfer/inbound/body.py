"""The bytes of a request's body: every one passes here, is counted, and is bounded.

Foreign exceptions end here: a malformed transfer encoding is MalformedTransfer, a lost client Disconnected.
"""

from aiohttp import web

from headgate.errors import Disconnected, MalformedTransfer, TooLarge
from headgate.lowlevel.aiohttp_internals import drain_buffered
from headgate.lowlevel.page_memory import Data
from headgate.transfer.digester import Digester
from headgate.transfer.inbound.direct import direct_reader
from headgate.transfer.watchdog import ClientWait
from headgate.units import readable

__all__ = ["Body"]


class Body:
    """The body of `request`, of at most `limit` bytes as they stream (whatever its Content-Length said).

    `digester`: has every byte pass, if there is something to compute. Must be closed if it may be large.
    """

    __slots__ = ("_back", "_back_at", "_digester", "_direct", "_limit", "_request", "consumed", "waited")

    def __init__(self, request: web.Request, *, limit: int, digester: Digester | None = None) -> None:
        self._request = request
        self._digester = digester or None
        self._direct = direct_reader(request)
        self._limit = limit
        # What was read too far: all of it from `_back_at` on. An offset, because cutting lines off its front one by one
        # would copy the rest each time.
        self._back = b""
        self._back_at = 0
        #: How long we have been waiting for the client.
        self.waited = ClientWait()
        #: Bytes taken in so far, not counting what was given back.
        self.consumed = 0

    async def readany(self, held: bytes = b"", at: int = 0) -> Data:
        """`held`, and after it whatever is there, at least a byte; none at the end. Raises TooLarge, MalformedTransfer,
        Disconnected.

        `at`: where in a file it will be written. The memory of a memoryview is used again by the second read from now
        on.
        """
        if self._back:
            return held + self.take_back(len(self._back))
        try:
            with self.waited:
                if self._direct is not None:
                    data = await self._direct.readany(held, at)
                else:
                    data = await self._request.content.readany()
                    data = held + data if held and data else data
        except ConnectionError as error:
            error.__traceback__ = None  # it leads to a frame of aiohttp's that leads back to it: a circle
            raise Disconnected from None
        except web.RequestPayloadError:
            raise MalformedTransfer from None
        except RuntimeError:
            if self._request.transport is None:  # how a StreamReader says that nothing will come any more
                raise Disconnected from None
            raise
        if not data:
            return data
        self.consumed += len(data) - len(held)
        if self.consumed > self._limit:
            raise TooLarge(f"The body may have {readable(self._limit)}.")
        if self._digester is not None:
            # Whoever is stopped here has lost it; what is to be held against a digest is kept whole or not at all.
            await self._digester.take(data[len(held) :])
        return data

    def rest(self) -> bytes:
        """What has been received and not been read, whatever became of the connection since.

        aiohttp keeps it and says no more of it once the connection is lost.
        """
        data = drain_buffered(self._request.content) if self._direct is None else self._direct.rest()
        self.consumed += len(data)
        return data if self.consumed <= self._limit else b""

    def close(self) -> None:
        """Nothing more is read of it."""
        if self._direct is not None:
            self._direct.close()

    def give_back(self, data: Data) -> None:
        """The next read begins with `data`, the end of what was read last."""
        assert not self._back
        self._back = bytes(data)
        self._back_at = 0
        self.consumed -= len(data)

    def take_back(self, size: int) -> bytes:
        """Up to `size` bytes of what was given back."""
        data = self._back[self._back_at : self._back_at + size]
        self._back_at += len(data)
        self.consumed += len(data)
        if self._back_at == len(self._back):
            self._back = b""
        return data
