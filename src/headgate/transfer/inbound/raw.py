"""A raw body: the content of the request is one file."""

from collections.abc import AsyncGenerator, Mapping

from aiohttp import web

from headgate.config import Config, OnConflict
from headgate.errors import TooLarge
from headgate.lowlevel.page_memory import Data
from headgate.lowlevel.readable_size import readable
from headgate.storage import ExpectedSize
from headgate.transfer.digester import Digester
from headgate.transfer.inbound.body import Body
from headgate.transfer.inbound.content import check_whole
from headgate.transfer.watchdog import ClientWait
from headgate.wire.digest_fields import parse_wish
from headgate.wire.fields import field_value

__all__ = ["RawSource"]


class RawSource:
    """The body of `request` as a file called `filename`: a `BodySource`, and the one `IncomingFile` of it.

    Made before the body is read. Raises UnsupportedMedia, MalformedRequest or TooLarge for what the headers
    show. Digests that come with the request are compared with the content (RFC 9530, 2 and 3).
    """

    #: A body that is one file says nothing else.
    on_conflict: OnConflict | None = None

    def __init__(self, request: web.Request, config: Config, filename: str) -> None:
        check_whole(request)
        limit = min(config.max_file_size, config.upload_size_limit)
        if (request.content_length or 0) > limit:
            raise TooLarge(f"A file may have {readable(limit)}; this one has {readable(request.content_length or 0)}.")
        self.filename = filename
        self._content_length = request.content_length
        self._digester = Digester.expecting(
            request.headers, parse_wish(field_value(request.headers, "Want-Repr-Digest") or "")
        )
        self._body = Body(request, limit=limit, digester=self._digester)

    @property
    def expected(self) -> ExpectedSize | None:
        """Bytes that are still to come, at least and at most; None for a chunked body."""
        if self._content_length is None:
            return None
        left = self._content_length - self._body.consumed
        return ExpectedSize(left, left)

    @property
    def waited(self) -> ClientWait:
        """How long the server has been waiting for the client."""
        return self._body.waited

    @property
    def consumed(self) -> int:
        """Bytes of the body that were taken in."""
        return self._body.consumed

    @property
    def digests(self) -> Mapping[str, bytes]:
        """The digest that the client asked for, by its algorithm; known when the file has been read."""
        return self._digester.wanted

    async def files(self) -> AsyncGenerator["RawSource", None]:
        """The one file that the body is."""
        yield self

    async def read(self) -> Data:
        """The next bytes, as many as came; none at the end. Raises DigestMismatch, and what Body raises."""
        data = await self._body.read()
        if not data:
            self._digester.check("The body")
        return data

    def close(self) -> None:
        """Nothing more is read of the body."""
        self._body.close()
