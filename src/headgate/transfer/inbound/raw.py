"""A raw body: the request's content is one file. Has the face of `Form`, so that whatever lands files lands it."""

from collections.abc import AsyncGenerator, Mapping

from aiohttp import web

from headgate.config import Config
from headgate.errors import TooLarge
from headgate.lowlevel.page_memory import Data
from headgate.transfer.digester import Digester
from headgate.transfer.inbound.body import Body
from headgate.transfer.inbound.content import check_whole
from headgate.transfer.watchdog import ClientWait
from headgate.units import readable
from headgate.wire.digest_fields import parse_wish
from headgate.wire.fields import field_value

__all__ = ["Raw"]


class Raw:
    """The body of `request` as a file called `filename`.

    Made before the body is read. Raises UnsupportedMedia, MalformedRequest or TooLarge if the headers already tell.
    Digests that come with the request are held against it (RFC 9530, 2 and 3).
    """

    def __init__(self, request: web.Request, config: Config, filename: str) -> None:
        check_whole(request)
        limit = min(config.max_file_size, config.upload_size_limit)
        if (request.content_length or 0) > limit:
            raise TooLarge(f"A file may have {readable(limit)}; this one has {readable(request.content_length or 0)}.")
        self.filename = filename
        self.content_length = request.content_length
        self._digester = Digester.expecting(
            request.headers, parse_wish(field_value(request.headers, "Want-Repr-Digest") or "")
        )
        self._body = Body(request, limit=limit, digester=self._digester)

    @property
    def expected(self) -> tuple[int, int] | None:
        """Bytes still to come, at least and at most; None for a chunked body."""
        if self.content_length is None:
            return None
        rest = self.content_length - self._body.consumed
        return rest, rest

    @property
    def waited(self) -> ClientWait:
        """How long we have been waiting for the client."""
        return self._body.waited

    def close(self) -> None:
        """Nothing more is read of it."""
        self._body.close()

    @property
    def consumed(self) -> int:
        """Bytes of the body that were taken in."""
        return self._body.consumed

    @property
    def digests(self) -> Mapping[str, bytes]:
        """What was asked for, by algorithm; when the file has been read."""
        return self._digester.wanted

    async def read(self) -> Data:
        """The next bytes, as many as came; none at the end. Raises DigestMismatch, and what Body raises."""
        data = await self._body.read()
        if not data:
            self._digester.check("The body")
        return data

    async def files(self) -> AsyncGenerator["Raw", None]:
        """The one file that it is."""
        yield self
