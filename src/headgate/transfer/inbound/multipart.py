"""A multipart/form-data body, taken apart as it streams: a generator of the files in it, whose fields are collected on
the way.

`part_reader` finds the parts and reads their bytes; here it is decided what a part is, and what a form may have.

Rules of this file:

- What a client can make grow has a limit from Config: files, fields, headers, and whatever belongs to no file.
- Foreign exceptions end here: whatever is wrong with a form is MalformedBody.
- The body is read to its very end. A form whose closing boundary came but whose last byte did not is not whole (G3).
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from headgate.config import Config, OnConflict
from headgate.errors import MalformedBody, TooLarge, UnsupportedMedia
from headgate.lowlevel.page_memory import Data
from headgate.lowlevel.readable_size import readable
from headgate.storage import ExpectedSize
from headgate.transfer.digester import REPR_DIGEST, Digester
from headgate.transfer.inbound.content import check_whole
from headgate.transfer.inbound.incoming import parse_on_conflict
from headgate.transfer.inbound.part_reader import FormBody, FormParts, PartReader
from headgate.transfer.watchdog import ClientWait
from headgate.wire.digest_fields import parse_wish
from headgate.wire.fields import field_value
from headgate.wire.parameters import parse_parameters

__all__ = ["FilePart", "FormSource"]

#: RFC 2046, 5.1.1: 1 to 70 of these, and no space at the end.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")

#: Transfer encodings of a part that leave its bytes as they are (RFC 2045, 6.2).
_IDENTITY_ENCODINGS = frozenset({"", "binary", "7bit", "8bit"})


@dataclass(frozen=True, slots=True)
class FilePart:
    """A part of a form that is a file: an `IncomingFile`."""

    filename: str
    #: Reads the next bytes, as many as came; none at the end. Raises DigestMismatch at the end if the part came with a
    #: digest that its bytes do not have, and what `FormSource.files` does.
    read: Callable[[], Awaitable[Data]]
    #: Has the digest that the client asked for when the file has been read.
    digester: Digester

    @property
    def digests(self) -> dict[str, bytes]:
        """The digest that the client asked for, by its algorithm; known when the file has been read."""
        return self.digester.wanted


class FormSource:
    """The multipart/form-data body of `request`: a `BodySource`.

    Made before the body is read. Raises UnsupportedMedia, MalformedBody, MalformedRequest or TooLarge if the headers
    show that. Digests that come with the request are compared with the whole body (RFC 9530, 2 and 3: the form is the
    content), those that come with a part with its file. Where there is one file, a Repr-Digest of the request may be
    that file's: it is the digest that a client has at hand, and the whole form cannot have the same one.

    `max_files`: the most files that it may have; the caller also knows what the storage can publish together.
    """

    def __init__(self, request: web.Request, config: Config, *, max_files: int) -> None:
        check_whole(request)
        media_type, parameters = parse_parameters(request.headers.get(hdrs.CONTENT_TYPE, ""))
        if media_type != "multipart/form-data":
            raise UnsupportedMedia("The body must be multipart/form-data.")
        boundary = parameters.get("boundary", "")
        if not _BOUNDARY.fullmatch(boundary):
            raise MalformedBody("The Content-Type needs a boundary of 1 to 70 of the characters in RFC 2046.")
        self._content_length = request.content_length
        if (self._content_length or 0) > config.body_size_limit:
            size, most = readable(self._content_length or 0), readable(config.upload_size_limit)
            raise TooLarge(f"A file may have {most}; this upload has {size}.")
        #: Values of the form's fields that are no files, as far as they have been read; the last of each name.
        self.fields: dict[str, str] = {}
        self._config = config
        self._max_files = max_files
        self._digester = Digester.expecting(request.headers)
        self._first_file = Digester.expecting(request.headers, fields=[REPR_DIGEST])
        self._wanted = parse_wish(field_value(request.headers, "Want-Repr-Digest") or "")
        self._body = FormBody(
            request,
            limit=config.body_size_limit,
            overhead_limit=config.max_form_size,
            digester=self._digester,
        )
        self._end_size = len(boundary) + 8  # of what ends the body after its last part: CRLF -- boundary -- CRLF
        self._parts = FormParts.of(self._body, boundary, config)

    @property
    def expected(self) -> ExpectedSize | None:
        """Bytes of files that are still to come when a file begins: at least, and at most; None for a chunked body.

        The most is exact if that file is the last part; otherwise too many by the framing of the parts after it.
        """
        if self._content_length is None:
            return None
        most = max(0, self._content_length - self._body.consumed - self._end_size)
        return ExpectedSize(max(0, most - self._config.max_form_size), most)

    @property
    def on_conflict(self) -> OnConflict | None:
        """What the field of that name says is to become of a taken name, if it has come and says anything.

        Raises InvalidOption.
        """
        text = self.fields.get("on_conflict")
        return parse_on_conflict(text) if text else None

    @property
    def waited(self) -> ClientWait:
        """How long the server has been waiting for the client."""
        return self._body.waited

    def close(self) -> None:
        """Nothing more is read of the body."""
        self._body.close()

    @property
    def consumed(self) -> int:
        """Bytes of the body that were taken in."""
        return self._body.consumed

    async def files(self) -> AsyncGenerator[FilePart, None]:
        """The file parts, one after the other; each must be read to its end before the next is asked for.

        Fields on the way are collected in `fields`. Ends when the body has ended. Raises MalformedBody, TooLarge,
        UnsupportedMedia, DigestMismatch, MalformedRequest, and what Body raises.
        """
        files = fields = 0
        while (part := await self._parts.next_part()) is not None:
            _, parameters = parse_parameters(part.headers.get(hdrs.CONTENT_DISPOSITION, ""))
            encoding = part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "").strip().lower()
            if encoding not in _IDENTITY_ENCODINGS:
                raise UnsupportedMedia(f"A part may not have the transfer encoding {encoding!r}.")
            if parameters.get("filename"):  # whatever its disposition: some clients send attachments, as mail has them
                files += 1
                if files > self._max_files:
                    raise TooLarge(f"An upload may have {self._max_files} files.")
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
        while rest := await self._body.read():  # an epilogue (RFC 2046, 5.1.1), to be ignored
            self._body.count_overhead(len(rest))
        self._digester.check("The body", excused={REPR_DIGEST} - self._first_file.wrong if files == 1 else ())

    def _file(self, filename: str, part: PartReader, *, first: bool) -> FilePart:
        digester = Digester.expecting(part.headers, self._wanted)
        digesters = [each for each in (digester, self._first_file if first else None) if each]

        async def read() -> Data:
            data = await part.read_chunk()
            for each in digesters:
                await each.take(data)
            if not data:
                digester.check(f"{filename!r}")
            return data

        return FilePart(filename, read if digesters else part.read_chunk, digester)

    async def _read_field(self, part: PartReader) -> str:
        value = bytearray()
        while chunk := await part.read_chunk():
            self._body.count_overhead(len(chunk))
            value += chunk
            if len(value) > self._config.max_field_size:
                raise TooLarge(f"A form field may have {self._config.max_field_size} bytes.")
        return value.decode(errors="replace")
