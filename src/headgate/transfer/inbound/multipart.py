"""A multipart/form-data body, taken apart as it streams.

Rules of this room:

- aiohttp's MultipartReader does the framing; ours are the reader of a part's bytes (it hands on whole received buffers
  and searches each once) and the body beneath it, through which every byte passes and is counted.
- What a client can make grow has a limit from Config: files, fields, headers, and whatever belongs to no file.
- Foreign exceptions end here: whatever is wrong with a form is MalformedBody.
- The body is read to its very end. A form whose closing boundary came but whose last byte did not is not whole (G3).
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

from headgate.config import Config
from headgate.errors import MalformedBody, TooLarge, UnsupportedMedia
from headgate.lowlevel.page_memory import Data, find
from headgate.transfer.digester import REPR_DIGEST, Digester
from headgate.transfer.inbound.body import Body, check_whole
from headgate.transfer.watchdog import ClientWait
from headgate.units import readable
from headgate.wire.digest_fields import parse_wish
from headgate.wire.fields import field_value
from headgate.wire.parameters import parse_parameters

__all__ = ["FileBody", "Form"]

#: RFC 2046, 5.1.1: 1 to 70 of these, and no space at the end.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")

#: Bytes that a line counts for at least: the work is to be bounded, too, and a line is a few dozen bytes' worth of it.
LINE_COST = 64

#: A Content-Disposition that has a file name, plain or extended (RFC 7578, 4.2), which may be empty.
_FILE = re.compile(r";[ \t]*filename\*?[ \t]*=", re.IGNORECASE)

_IDENTITY_ENCODINGS = frozenset({"", "binary", "7bit", "8bit"})


class _FormBody(Body):
    """A body as MultipartReader wants to read it: with the part of StreamReader's interface that it uses."""

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
        """A line with its end, or what is left at the end of the body."""
        line = b""
        while not line.endswith(b"\n") and len(line) <= max_line_length:
            if not self._back:
                data = await self.readany()
                if not data:
                    break
                self.give_back(data)
            end = self._back.find(b"\n", self._back_at) + 1 or len(self._back)
            line += self.take_back(end - self._back_at)
        if len(line) > max_line_length:
            raise MalformedBody(f"A line outside the parts' content is longer than {max_line_length} bytes.")
        self.count_overhead(max(len(line), LINE_COST))
        return line


class _PartReader(BodyPartReader):
    """Reads a part in whole received buffers.

    The base class asks for a size, joins, and searches each byte more than once; this one searches each buffer once for
    the delimiter and holds back only a tail that could begin one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._body = cast("_FormBody", self._content)
        self._delimiter = b"\r\n" + self._boundary
        # The line break that ended the headers may begin the delimiter: an empty part has no other.
        self._held = b"\r\n"
        self._skip = 2
        self._given = 0  # bytes of the part so far

    # Whatever calls it here takes any bytes-like object.
    async def read_chunk(self, size: int = 0) -> Data:  # type: ignore[override]
        """The next bytes of the part, as many as came (`size` is ignored); none at its end.

        Raises MalformedBody if the body ends before the part does.
        """
        if self._at_eof:
            return b""
        delimiter = self._delimiter
        while True:
            data = await self._body.readany(self._held, self._given - self._skip)
            if not data:
                raise MalformedBody("The body ends in the middle of a part.")
            found = find(data, delimiter)
            if found < 0:
                # Only the last CR can begin a delimiter that is still to come: there is none inside one.
                end = bytes(data[1 - len(delimiter) :])
                tail = end.rfind(b"\r")
                self._held = end[tail:] if tail >= 0 and delimiter.startswith(end[tail:]) else b""
                data = data[: len(data) - len(self._held)]
            elif found == 0:
                self._at_eof = True
                self._held = b""
                self._body.give_back(data[2:])  # the reader of the next part begins at the boundary's own line
                return b""
            else:
                self._held = b""
                self._body.give_back(data[found:])
                data = data[:found]
            if self._skip and data:
                data = data[self._skip :]
                self._skip = 0
            if data:
                self._given += len(data)
                return data


class _FormReader(MultipartReader):
    part_reader_cls = _PartReader

    def _get_part_reader(self, headers: CIMultiDictProxy[str]) -> MultipartReader | BodyPartReader:
        """A part that has a file name is a file, whatever type it says it is: a saved page is a multipart/related."""
        if _FILE.search(headers.get(hdrs.CONTENT_DISPOSITION, "")):
            told = CIMultiDict(headers)
            told[hdrs.CONTENT_TYPE] = "application/octet-stream"
            headers = CIMultiDictProxy(told)
        return super()._get_part_reader(headers)


@dataclass(frozen=True, slots=True)
class FileBody:
    """A file part: its name as sent, and its bytes."""

    filename: str
    #: The next bytes, as many as came; none at the end. The hot path. Raises DigestMismatch at the end if the part came
    #: with a digest that its bytes do not have.
    read: Callable[[], Awaitable[Data]]
    #: What was asked for; to be looked at when the file has been read.
    digester: Digester

    @property
    def digests(self) -> dict[str, bytes]:
        """By algorithm; when the file has been read."""
        return self.digester.wanted


class Form:
    """The multipart/form-data body of `request`.

    Made before the body is read. Raises UnsupportedMedia, MalformedBody, MalformedRequest or TooLarge if the headers
    already tell. Digests that come with the request are held against the whole body (RFC 9530, 2 and 3: the form is the
    content), those that come with a part against its file. Where there is one file, a Repr-Digest of the request may be
    that file's: it is what people have at hand, and no other bytes have it.
    """

    def __init__(self, request: web.Request, config: Config) -> None:
        check_whole(request)
        media_type, parameters = parse_parameters(request.headers.get(hdrs.CONTENT_TYPE, ""))
        if media_type != "multipart/form-data":
            raise UnsupportedMedia("The body must be multipart/form-data.")
        boundary = parameters.get("boundary", "")
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedBody("The Content-Type needs a boundary of 1 to 70 of the characters in RFC 2046.")
        #: Bytes of the whole body; None if it is chunked.
        self.content_length = request.content_length
        if (self.content_length or 0) > config.body_size_limit:
            size, most = readable(self.content_length or 0), readable(config.upload_size_limit)
            raise TooLarge(f"A file may have {most}; this upload has {size}.")
        #: Values of the form's other fields, the last of each name.
        self.fields: dict[str, str] = {}
        self._config = config
        self._digester = Digester.expecting(request.headers)
        self._first_file = Digester.expecting(request.headers, fields=[REPR_DIGEST])
        self._wanted = parse_wish(field_value(request.headers, "Want-Repr-Digest") or "")
        self._body = _FormBody(
            request,
            limit=config.body_size_limit,
            overhead_limit=config.max_form_size,
            digester=self._digester,
        )
        # What ends the body after its last part: CRLF -- boundary -- CRLF.
        self._closing = len(boundary) + 8
        self._reader = _FormReader(
            # "mixed", because for form-data the reader would decode a field called _charset_ as it goes.
            {hdrs.CONTENT_TYPE: f'multipart/mixed; boundary="{boundary}"'},
            # It has the methods of StreamReader that MultipartReader calls; that class is not meant to be derived from.
            cast("StreamReader", self._body),
            max_field_size=config.max_part_header_size,
            max_headers=config.max_part_headers,
        )

    @property
    def expected(self) -> tuple[int, int] | None:
        """Bytes of files still to come, when a file begins: at least, and at most; None for a chunked body.

        The most is exact if that file is the last part; otherwise too many by the framing of the parts after it.
        """
        if self.content_length is None:
            return None
        most = max(0, self.content_length - self._body.consumed - self._closing)
        return max(0, most - self._config.max_form_size), most

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

    async def files(self) -> AsyncGenerator[FileBody, None]:
        """The file parts, one after the other; each must be read to its end before the next is asked for.

        Fields on the way are collected in `fields`. Ends when the body has ended. Raises MalformedBody, TooLarge,
        UnsupportedMedia, DigestMismatch, MalformedRequest, and what Body raises.
        """
        files = fields = 0
        while (part := await self._next()) is not None:
            _, parameters = parse_parameters(part.headers.get(hdrs.CONTENT_DISPOSITION, ""))
            encoding = part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "").strip().lower()
            if encoding not in _IDENTITY_ENCODINGS:
                raise UnsupportedMedia(f"A part may not have the transfer encoding {encoding!r}.")
            if parameters.get("filename"):  # whatever its disposition: some clients send attachments, as mail has them
                files += 1
                if files > self._config.max_files:
                    raise TooLarge(f"An upload may have {self._config.max_files} files.")
                yield self._file(parameters["filename"], part, first=files == 1)
                assert part.at_eof(), "a file must be read to its end"
            else:
                fields += 1
                if fields > self._config.max_fields:
                    raise TooLarge(f"A form may have {self._config.max_fields} fields.")
                value = await self._read_field(part)
                if "filename" in parameters and value:  # a browser's unused file input is empty, and has no name
                    raise MalformedBody("A file has no name.")
                self.fields[parameters.get("name", "")] = value
        while rest := await self._body.readany():  # an epilogue (RFC 2046, 5.1.1), to be ignored
            self._body.count_overhead(len(rest))
        self._digester.check("The body", excused={REPR_DIGEST} - self._first_file.wrong if files == 1 else ())

    def _file(self, filename: str, part: _PartReader, *, first: bool) -> FileBody:
        digester = Digester.expecting(part.headers, self._wanted)
        digesters = [each for each in (digester, self._first_file if first else None) if each]

        async def read() -> Data:
            data = await part.read_chunk()
            for each in digesters:
                await each.take(data)
            if not data:
                digester.check(f"{filename!r}")
            return data

        return FileBody(filename, read if digesters else part.read_chunk, digester)

    async def _next(self) -> _PartReader | None:
        try:
            part = await self._reader.next()
        except (HttpProcessingError, ValueError):
            raise MalformedBody("The form's parts are malformed, or the form ends early.") from None
        if part is not None and not isinstance(part, _PartReader):
            raise UnsupportedMedia("A part may not be multipart itself.")
        return part

    async def _read_field(self, part: _PartReader) -> str:
        value = bytearray()
        while chunk := await part.read_chunk():
            self._body.count_overhead(len(chunk))
            value += chunk
            if len(value) > self._config.max_field_size:
                raise TooLarge(f"A form field may have {self._config.max_field_size} bytes.")
        return value.decode(errors="replace")
