"""Where a message of HTTP/1 ends, and whether it is one (RFC 9112). No I/O; what a message means is aiohttp's business.

A `Framing` is fed the bytes of a connection as they come and gives out the same bytes, message by message: a head only
when all of it is there, a body as it comes. aiohttp's parser, which is fed by it, never sees two messages at once, nor
the end of one that is too large. In the middle of a body the connection counts down `body_left` and calls nothing.

Rules of this file:

- A head is bounded in all, and so is what a chunked body has besides its chunks' content.
- What comes after the last message of a connection is dropped; that message is answered.
- Nothing that a client sent is repeated to it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MAX_CHUNK_LINE_BYTES", "MAX_TARGET_BYTES", "Framing", "Refusal"]

#: Bytes of a request's target. What servers commonly take (RFC 9112, 3 recommends 8,000 and more for the whole line).
MAX_TARGET_BYTES = 8190

#: Bytes of the line that begins a chunk: 16 digits, and extensions, which nobody sends (RFC 9112, 7.1.1).
MAX_CHUNK_LINE_BYTES = 1024

#: Bytes of a chunked body's trailer fields, which no handler of headgate reads.
MAX_TRAILER_BYTES = 8190

#: Bytes up to which a body is handed on with its head, if all of it is here: one call of the parser costs less than
#: two.
MAX_JOINED_BODY_BYTES = 16 * 1024

#: Bytes of empty lines that may come before a request (RFC 9112, 2.2).
MAX_EMPTY_LINE_BYTES = 64

#: A request line (RFC 9112, 3): method, target, and the minor version.
_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^ ]+) HTTP/1\.([0-9])")
#: The fields that say where a message ends, and whether another one may come.
_FIELD = re.compile(rb"\r\n(content-length|transfer-encoding|connection|upgrade):([^\r]*)", re.IGNORECASE)
#: A line break without its CR, which some readers take for one and others do not.
_BARE_LF = re.compile(rb"(?<!\r)\n")
#: The line that begins a chunk: its size in hexadecimal digits, and extensions.
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")

#: The methods that aiohttp's parser knows and clients of headgate use; others are not implemented (RFC 9110, 9.1).
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"})


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """Why something is no message that is served: what the client is told as a problem (RFC 9457). It is the last
    response of its connection."""

    status: int
    code: str
    title: str


_MALFORMED = Refusal(400, "malformed-request", "The request is malformed")
_NO_METHOD = Refusal(501, "not-implemented", "The method is not implemented here")
_LONG_TARGET = Refusal(414, "uri-too-long", "The target of the request is too long")
_LARGE_HEAD = Refusal(431, "headers-too-large", "The headers of the request are too large")


class Framing:
    """The messages of one connection. `max_head`: bytes that a request line and header lines may have together."""

    __slots__ = (
        "_chunk_line",
        "_chunked",
        "_empty_line_bytes",
        "_good_end",
        "_head",
        "_is_closed",
        "_is_last",
        "_max_head",
        "_trailer_bytes",
        "body_left",
    )

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._head = bytearray()
        self._empty_line_bytes = 0
        #: Bytes that are still to come of a body, or of a chunk with its line break.
        self.body_left = 0
        self._chunked = False
        self._chunk_line = bytearray()
        self._trailer_bytes = -1  # bytes of trailer fields so far; below 0: the last chunk has not come
        self._good_end = 0  # offset in the data up to which the chunks are well-formed
        self._is_last = False  # is the message that comes now the connection's last?
        self._is_closed = False

    @property
    def unfinished(self) -> int:
        """Bytes of a head that are kept until the rest of it has come."""
        return len(self._head)

    @property
    def is_between(self) -> bool:
        """Has every message that has begun come to its end?"""
        return self._is_closed or not (self._head or self.body_left or self._chunked)

    def receive(self, data: bytes) -> Iterator[bytes]:
        """The pieces of `data`, and of what was kept before, that are to be handed on to the parser.

        Raises Refusal when all good pieces have been had; then `close` is to be called.
        """
        at = 0
        while at < len(data) and not self._is_closed:
            if self.body_left and not self._chunked:
                body = data[at : at + self.body_left]
                self.body_left -= len(body)
                at += len(body)
                yield body
                self._end_message()
            elif self._chunked:
                self._good_end = at
                try:
                    end = self._take_chunks(data, at)
                except Refusal:
                    if self._good_end > at:
                        yield data[at : self._good_end]
                    raise
                yield data[at:end]
                at = end
                self._end_message()
            else:
                at, head = self._take_head(data, at)
                if head:
                    if 0 < self.body_left <= min(MAX_JOINED_BODY_BYTES, len(data) - at) and not self._chunked:
                        head += data[at : at + self.body_left]
                        at, self.body_left = at + self.body_left, 0
                    yield head
                    self._end_message()

    def close(self) -> None:
        """Drop whatever comes from now on."""
        self._is_closed = True
        self._head.clear()

    def _end_message(self) -> None:
        if self._is_last and not self.body_left and not self._chunked:
            self.close()

    # Heads.

    def _take_head(self, data: bytes, at: int) -> tuple[int, bytes]:
        """Where in `data` the head ends, and the whole head; no bytes if more of it is to come."""
        head = self._head
        while not head and at < len(data) and data[at] in b"\r\n":
            at, self._empty_line_bytes = at + 1, self._empty_line_bytes + 1
            if self._empty_line_bytes > MAX_EMPTY_LINE_BYTES:
                self._refuse(_MALFORMED)
        if not head and (found := data.find(b"\r\n\r\n", at, at + self._max_head + 1)) >= 0:  # nearly always
            self._empty_line_bytes = 0
            return found + 4, self._check_head(data[at : found + 4])
        searched = max(0, len(head) - 3)
        room = self._max_head - len(head) + 1
        head += data[at : at + room]
        found = head.find(b"\r\n\r\n", searched)
        if found < 0:
            if len(head) > self._max_head:
                long_line = head.find(b"\r\n", 0, MAX_TARGET_BYTES + 32) < 0
                self._refuse(_LONG_TARGET if long_line else _LARGE_HEAD)
            if _BARE_LF.search(head, searched):
                self._refuse(_MALFORMED)
            self._check_line_so_far()
            return len(data), b""
        size = found + 4
        taken = size - (len(head) - len(data[at : at + room]))
        whole = bytes(head[:size])
        head.clear()
        self._empty_line_bytes = 0
        return at + taken, self._check_head(whole)

    def _check_line_so_far(self) -> None:
        """Check a request line whose end is here, or should be, before the rest of the head has come. Raises
        Refusal."""
        head = self._head
        end = head.find(b"\r\n")
        if end >= 0:
            self._check_line(bytes(head[:end]))
        elif len(head) > MAX_TARGET_BYTES + 64:
            self._refuse(_LONG_TARGET)

    def _check_line(self, line: bytes) -> bytes:
        """The request line as it is handed on. Raises Refusal."""
        match = _LINE.fullmatch(line)
        if match is None:
            self._refuse(_MALFORMED)
        assert match is not None
        method, target, minor = match.groups()
        if method not in METHODS:
            self._refuse(_NO_METHOD)
        if len(target) > MAX_TARGET_BYTES:
            self._refuse(_LONG_TARGET)
        # A later minor version is understood as the highest that one knows (RFC 9110, 2.5).
        return line if minor in b"01" else line[:-1] + b"1"

    def _check_head(self, head: bytes) -> bytes:
        """The `head` as it is handed on; takes note of what it says of the body. Raises Refusal."""
        end = head.index(b"\r\n")
        line = self._check_line(head[:end])
        old = line.endswith(b"HTTP/1.0")
        length: bytes | None = None
        chunked, keeps, closes, upgrades = False, False, False, False
        for name, value in _FIELD.findall(head, end):
            match name.lower():
                case b"content-length":
                    length = value.strip(b" \t")
                case b"transfer-encoding":
                    chunked = True
                case b"connection":
                    options = {option.strip(b" \t") for option in value.lower().split(b",")}
                    keeps, closes = keeps or b"keep-alive" in options, closes or b"close" in options
                case b"upgrade":
                    upgrades = True
        # In HTTP/1.0 there are no transfer codings: where such a message ends is anybody's guess (RFC 9112, 6.1).
        self._is_last = closes or (old and (not keeps or chunked))
        self._chunked = chunked
        self._trailer_bytes = -1
        # A length that is not valid counts as none: aiohttp's parser refuses the head anyway.
        self.body_left = (
            int(length) if not chunked and length is not None and length.isdigit() and len(length) < 20 else 0
        )
        rest = head[end:]
        if upgrades:  # to nothing that we speak: so the field is one that may be ignored (RFC 9110, 7.8)
            fields = rest.split(b"\r\n")
            rest = b"\r\n".join(field for field in fields if not field[:8].lower().startswith(b"upgrade:"))
        return line + rest

    # Chunks.

    def _take_chunks(self, data: bytes, at: int) -> int:
        """Where in `data` the chunked body ends, or `data` does."""
        while at < len(data):
            if self.body_left:
                passed = min(self.body_left, len(data) - at)
                self.body_left -= passed
                at += passed
            elif self._trailer_bytes >= 0:
                at = self._take_trailer(data, at)
                if not self._chunked:
                    return at
            else:
                self._good_end = at
                at = self._take_chunk_line(data, at)
        return at

    def _take_chunk_line(self, data: bytes, at: int) -> int:
        match = None if self._chunk_line else _CHUNK.match(data, at, at + MAX_CHUNK_LINE_BYTES)
        if match is not None:  # nearly always
            end = match.end()
        else:
            line = self._chunk_line
            end = data.find(b"\n", at, at + MAX_CHUNK_LINE_BYTES) + 1 or min(len(data), at + MAX_CHUNK_LINE_BYTES)
            line += data[at:end]
            if not line.endswith(b"\n"):
                if len(line) >= MAX_CHUNK_LINE_BYTES:
                    self._refuse(_MALFORMED)
                return end
            match = _CHUNK.fullmatch(line)
            if match is None or len(line) > MAX_CHUNK_LINE_BYTES:
                self._refuse(_MALFORMED)
                return end
        size = int(match[1], 16)
        if self._chunk_line:
            self._chunk_line = bytearray()
        if size:
            self.body_left = size + 2
        else:
            self._trailer_bytes = 0
        return end

    def _take_trailer(self, data: bytes, at: int) -> int:
        """Where in `data` one line of the trailer ends, or `data` does; an empty line ends the message."""
        line = self._chunk_line
        end = data.find(b"\n", at) + 1 or len(data)
        line += data[at:end]
        self._trailer_bytes += end - at
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            self._refuse(_LARGE_HEAD)
        if line.endswith(b"\n"):
            if len(line) <= 2:  # nothing but its end
                self._chunked, self._trailer_bytes = False, -1
            self._chunk_line = bytearray()
        return end

    def _refuse(self, refusal: Refusal) -> None:
        self.close()
        raise refusal
