"""Where a message of HTTP/1 ends, and whether it is one (RFC 9112). No I/O, and no meaning: that is aiohttp's.

A `Framing` is fed what comes, and gives out the same bytes, message by message: a head only when all of it is there, a
body as it comes. aiohttp's parser behind it never sees two messages at once, nor the end of one that is too large.

Rules of this room:

- A head is bounded in all, and so is what a chunked body has besides its chunks' content.
- What comes after the last message of a connection is dropped; that message is answered.
- Nothing that a client sent is repeated to it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MAX_CHUNK_LINE", "MAX_TARGET", "Framing", "Refusal"]

#: Bytes of a request's target. What servers commonly take (RFC 9112, 3 recommends 8,000 and more for the whole line).
MAX_TARGET = 8190

#: Bytes of the line that begins a chunk: 16 digits, and extensions, which nobody sends (RFC 9112, 7.1.1).
MAX_CHUNK_LINE = 1024

#: Bytes of a chunked body's trailer fields, which nobody reads here.
MAX_TRAILERS = 8190

#: Bytes of a body that goes with its head, if all of it is here: one call of the parser costs less than two.
JOINED = 16 * 1024

#: Bytes of empty lines that may come before a request (RFC 9112, 2.2).
MAX_EMPTY = 64

_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^ ]+) HTTP/1\.([0-9])")
#: The fields that say where a message ends, and whether another one may come.
_FIELD = re.compile(rb"\r\n(content-length|transfer-encoding|connection|upgrade):([^\r]*)", re.IGNORECASE)
_BARE_LF = re.compile(rb"(?<!\r)\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")

#: The methods that aiohttp's parser knows, and that anybody asks for here; others are not implemented (RFC 9110, 9.1).
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"})


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """What is told of something that is no message, as a problem (RFC 9457); it is the last of its connection."""

    status: int
    code: str
    title: str


_MALFORMED = Refusal(400, "malformed-request", "The request is malformed")
_NO_METHOD = Refusal(501, "not-implemented", "The method is not implemented here")
_LONG_TARGET = Refusal(414, "uri-too-long", "The target of the request is too long")
_LARGE_HEAD = Refusal(431, "headers-too-large", "The headers of the request are too large")


class Framing:
    """One connection's messages. `max_head`: bytes of a request line and header lines together."""

    __slots__ = (
        "_chunk_line",
        "_chunked",
        "_empty",
        "_good",
        "_head",
        "_last",
        "_max_head",
        "_over",
        "_trailers",
        "left",
    )

    def __init__(self, max_head: int) -> None:
        self._max_head = max_head
        self._head = bytearray()
        self._empty = 0
        #: Bytes that are still to come of a body, or of a chunk with its line break. The hot path looks at it.
        self.left = 0
        self._chunked = False
        self._chunk_line = bytearray()
        self._trailers = -1  # bytes of trailers so far; none are coming yet
        self._good = 0  # where in what is looked at a line began that may turn out to be none
        self._last = False  # the message that comes now is the connection's last
        self._over = False

    @property
    def unfinished(self) -> int:
        """Bytes of a head that are kept until the rest of it is here."""
        return len(self._head)

    @property
    def is_between(self) -> bool:
        """Is all here of every message that has begun?"""
        return self._over or not (self._head or self.left or self._chunked)

    def receive(self, data: bytes) -> Iterator[bytes]:
        """What of `data`, and of what came before, may be handed on. Raises Refusal, and then nothing more may."""
        at = 0
        while at < len(data) and not self._over:
            if self.left and not self._chunked:
                body = data[at : at + self.left]
                self.left -= len(body)
                at += len(body)
                yield body
                self._ended()
            elif self._chunked:
                self._good = at
                try:
                    end = self._take_chunks(data, at)
                except Refusal:
                    if self._good > at:
                        yield data[at : self._good]
                    raise
                yield data[at:end]
                at = end
                self._ended()
            else:
                at, head = self._take_head(data, at)
                if head:
                    if 0 < self.left <= min(JOINED, len(data) - at) and not self._chunked:
                        head += data[at : at + self.left]
                        at, self.left = at + self.left, 0
                    yield head
                    self._ended()

    def refuse(self) -> None:
        """Whatever comes now is dropped."""
        self._over = True
        self._head.clear()

    def _ended(self) -> None:
        if self._last and not self.left and not self._chunked:
            self.refuse()

    # Heads.

    def _take_head(self, data: bytes, at: int) -> tuple[int, bytes]:
        """Where the head ends in `data`, and all of it; nothing if more of it is to come."""
        head = self._head
        while not head and at < len(data) and data[at] in b"\r\n":
            at, self._empty = at + 1, self._empty + 1
            if self._empty > MAX_EMPTY:
                self._refuse(_MALFORMED)
        if not head and (found := data.find(b"\r\n\r\n", at, at + self._max_head + 1)) >= 0:  # nearly always
            self._empty = 0
            return found + 4, self._vet(data[at : found + 4])
        searched = max(0, len(head) - 3)
        room = self._max_head - len(head) + 1
        head += data[at : at + room]
        found = head.find(b"\r\n\r\n", searched)
        if found < 0:
            if len(head) > self._max_head:
                long_line = head.find(b"\r\n", 0, MAX_TARGET + 32) < 0
                self._refuse(_LONG_TARGET if long_line else _LARGE_HEAD)
            if _BARE_LF.search(head, searched):
                self._refuse(_MALFORMED)
            self._check_line_so_far()
            return len(data), b""
        size = found + 4
        taken = size - (len(head) - len(data[at : at + room]))
        whole = bytes(head[:size])
        head.clear()
        self._empty = 0
        return at + taken, self._vet(whole)

    def _check_line_so_far(self) -> None:
        """A request line whose end is here, or should be, is looked at before the rest of the head has come."""
        head = self._head
        end = head.find(b"\r\n")
        if end >= 0:
            self._vet_line(bytes(head[:end]))
        elif len(head) > MAX_TARGET + 64:
            self._refuse(_LONG_TARGET)

    def _vet_line(self, line: bytes) -> bytes:
        """The request line as it is handed on. Raises Refusal."""
        match = _LINE.fullmatch(line)
        if match is None:
            self._refuse(_MALFORMED)
        assert match is not None
        method, target, minor = match.groups()
        if method not in METHODS:
            self._refuse(_NO_METHOD)
        if len(target) > MAX_TARGET:
            self._refuse(_LONG_TARGET)
        # A later minor version is understood as the highest that one knows (RFC 9110, 2.5).
        return line if minor in b"01" else line[:-1] + b"1"

    def _vet(self, head: bytes) -> bytes:
        """The `head` as it is handed on, and what it says of the body. Raises Refusal."""
        end = head.index(b"\r\n")
        line = self._vet_line(head[:end])
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
        self._last = closes or (old and (not keeps or chunked))
        self._chunked = chunked
        self._trailers = -1
        # What is malformed here aiohttp's parser refuses, whatever comes after it.
        self.left = int(length) if not chunked and length is not None and length.isdigit() and len(length) < 20 else 0
        rest = head[end:]
        if upgrades:  # to nothing that we speak: so the field is one that may be ignored (RFC 9110, 7.8)
            fields = rest.split(b"\r\n")
            rest = b"\r\n".join(field for field in fields if not field[:8].lower().startswith(b"upgrade:"))
        return line + rest

    # Chunks.

    def _take_chunks(self, data: bytes, at: int) -> int:
        """Where in `data` the chunked body ends, or `data` does."""
        while at < len(data):
            if self.left:
                passed = min(self.left, len(data) - at)
                self.left -= passed
                at += passed
            elif self._trailers >= 0:
                at = self._take_trailer(data, at)
                if not self._chunked:
                    return at
            else:
                self._good = at
                at = self._take_chunk_line(data, at)
        return at

    def _take_chunk_line(self, data: bytes, at: int) -> int:
        match = None if self._chunk_line else _CHUNK.match(data, at, at + MAX_CHUNK_LINE)
        if match is not None:  # nearly always
            end = match.end()
        else:
            line = self._chunk_line
            end = data.find(b"\n", at, at + MAX_CHUNK_LINE) + 1 or min(len(data), at + MAX_CHUNK_LINE)
            line += data[at:end]
            if not line.endswith(b"\n"):
                if len(line) >= MAX_CHUNK_LINE:
                    self._refuse(_MALFORMED)
                return end
            match = _CHUNK.fullmatch(line)
            if match is None or len(line) > MAX_CHUNK_LINE:
                self._refuse(_MALFORMED)
                return end
        size = int(match[1], 16)
        if self._chunk_line:
            self._chunk_line = bytearray()
        if size:
            self.left = size + 2
        else:
            self._trailers = 0
        return end

    def _take_trailer(self, data: bytes, at: int) -> int:
        """One line of what follows the last chunk; an empty one ends the message."""
        line = self._chunk_line
        end = data.find(b"\n", at) + 1 or len(data)
        line += data[at:end]
        self._trailers += end - at
        if self._trailers > MAX_TRAILERS:
            self._refuse(_LARGE_HEAD)
        if line.endswith(b"\n"):
            if len(line) <= 2:  # nothing but its end
                self._chunked, self._trailers = False, -1
            self._chunk_line = bytearray()
        return end

    def _refuse(self, refusal: Refusal) -> None:
        self.refuse()
        raise refusal
