"""The parts of a multipart body: where each begins and ends, its headers, and its bytes in whole received buffers.

aiohttp's MultipartReader finds the parts and parses their headers, reading lines. The bytes of a part, which are nearly
all of a body, are read here: each received buffer is searched once for the delimiter and handed on without a copy; only
a tail that could begin a delimiter waits for the next one.

Rules of this file:

- Every byte that belongs to no file counts against a limit, and every line counts for at least `LINE_COST_BYTES`.
- What is wrong with the form is MalformedBody; no exception of aiohttp's leaves this file.
"""

import re
from typing import Any, Self, cast

from aiohttp import BodyPartReader, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

from headgate.config import Config
from headgate.errors import MalformedBody, TooLarge, UnsupportedMedia
from headgate.lowlevel.aiohttp_internals import PartsReader
from headgate.lowlevel.page_memory import Data, find
from headgate.transfer.digester import Digester
from headgate.transfer.inbound.body import Body

__all__ = ["FormBody", "FormParts", "PartReader"]

#: Bytes that a line counts for at least: the work is to be bounded, too, and a line is a few dozen bytes' worth of it.
LINE_COST_BYTES = 64

#: A Content-Disposition that has a file name, plain or extended (RFC 7578, 4.2), which may be empty.
_FILE_NAME = re.compile(r";[ \t]*filename\*?[ \t]*=", re.IGNORECASE)


class FormBody(Body):
    """A body of which MultipartReader can read lines: it has the part of StreamReader's interface that is used."""

    __slots__ = ("_overhead", "_overhead_limit")

    def __init__(self, request: web.Request, *, limit: int, overhead_limit: int, digester: Digester) -> None:
        super().__init__(request, limit=limit, digester=digester)
        self._overhead = 0
        self._overhead_limit = overhead_limit

    def count_overhead(self, size: int) -> None:
        """Count `size` bytes that belong to no file."""
        self._overhead += size
        if self._overhead > self._overhead_limit:
            raise TooLarge(f"A form may have {self._overhead_limit} bytes beside its files.")

    async def readline(self, *, max_line_length: int = 8190) -> bytes:
        """A line with its line break, or what is left at the end of the body.

        Raises MalformedBody if it has more than `max_line_length` bytes, TooLarge, and what `read` does.
        """
        line = b""
        while not line.endswith(b"\n") and len(line) <= max_line_length:
            if not self._unread:
                data = await self.read()
                if not data:
                    break
                self.unread(data)
            end = self._unread.find(b"\n", self._unread_at) + 1 or len(self._unread)
            line += self.read_unread(end - self._unread_at)
        if len(line) > max_line_length:
            raise MalformedBody(f"A line outside the parts' content is longer than {max_line_length} bytes.")
        self.count_overhead(max(len(line), LINE_COST_BYTES))
        return line


class PartReader(BodyPartReader):
    """Reads one part of a form. Where aiohttp's own asks for a size, joins, and searches each byte more than once, this
    one searches each buffer that comes once for the delimiter."""

    def __init__(self, boundary: bytes, headers: CIMultiDictProxy[str], content: StreamReader, **options: Any) -> None:
        super().__init__(boundary, headers, content, **options)
        self._body = cast("FormBody", content)
        self._buffer = self._body.buffer
        self._delimiter = b"\r\n" + boundary
        self._ended = False
        # The line break that ended the headers may begin the delimiter: an empty part has no other.
        self._buffer.begin_file(before=b"\r\n")
        self._skip = 2

    # Whatever calls it here takes any bytes-like object.
    async def read_chunk(self, size: int = 0) -> Data:  # type: ignore[override]
        """The next bytes of the part, as many as came (`size` is ignored); none at its end.

        Raises MalformedBody if the body ends before the part does.
        """
        if self._ended:
            return b""
        delimiter = self._delimiter
        while True:
            data = await self._body.read()
            if not data:
                raise MalformedBody("The body ends in the middle of a part.")
            found = find(data, delimiter)
            if found < 0:
                # Only the last CR can begin a delimiter that is still to come: there is none inside one.
                end = bytes(data[1 - len(delimiter) :])
                tail = end.rfind(b"\r")
                if tail >= 0 and delimiter.startswith(end[tail:]):
                    self._buffer.keep(end[tail:])
                    data = data[: len(data) - len(end) + tail]
            elif found == 0:
                self._ended = True
                self._body.unread(data[2:])  # the reader of the next part begins at the boundary's own line
                return b""
            else:
                self._body.unread(data[found:])
                data = data[:found]
            if self._skip and data:
                data = data[self._skip :]
                self._skip = 0
            if data:
                return data

    def at_eof(self) -> bool:
        """Has the part been read to its end?"""
        return self._ended

    async def release(self) -> None:
        """Read the part to its end."""
        while await self.read_chunk():
            pass


class FormParts(PartsReader):
    """The parts of a form, one after the other."""

    part_reader_cls = PartReader

    def headers_to_read_by(self, headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
        """A part that has a file name is a file, whatever type it says it is: a saved page is a multipart/related."""
        if not _FILE_NAME.search(headers.get(hdrs.CONTENT_DISPOSITION, "")):
            return headers
        changed = CIMultiDict(headers)
        changed[hdrs.CONTENT_TYPE] = "application/octet-stream"
        return CIMultiDictProxy(changed)

    @classmethod
    def of(cls, body: FormBody, boundary: str, config: Config) -> Self:
        """The parts of `body`, which are delimited by `boundary`."""
        return cls(
            # "mixed", because for form-data aiohttp would decode a field called _charset_ as it goes.
            {hdrs.CONTENT_TYPE: f'multipart/mixed; boundary="{boundary}"'},
            # It has the methods of StreamReader that MultipartReader calls; that class is not meant to be derived from.
            cast("StreamReader", body),
            max_field_size=config.max_part_header_size,
            max_headers=config.max_part_headers,
        )

    async def next_part(self) -> PartReader | None:
        """The next part, once the one before it has been read to its end; None after the last one.

        Raises MalformedBody, UnsupportedMedia for a part that is multipart itself, and what Body raises.
        """
        try:
            part = await self.next()
        except (HttpProcessingError, ValueError):
            raise MalformedBody("The form's parts are malformed, or the form ends early.") from None
        if part is not None and not isinstance(part, PartReader):
            raise UnsupportedMedia("A part may not be multipart itself.")
        return part
