"""What a request selects of a stored file: all of it, one range, or several (RFC 9110, 14 and 15.3.7)."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from aiohttp import hdrs
from multidict import MultiMapping

from headgate.transfer.outbound.stored import Piece
from headgate.web.exports.export_headers import EXPORT_HEADERS
from headgate.wire.conditions import Validators, range_holds
from headgate.wire.fields import field_value
from headgate.wire.ranges import ByteRange, parse_range

__all__ = ["RangeSelection"]


@dataclass(frozen=True, slots=True)
class RangeSelection:
    """The pieces of the file to be sent, the bytes after them, and the status and headers of the answer."""

    pieces: Sequence[Piece]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    closing: bytes = b""

    @property
    def bytes(self) -> int:
        """Bytes of the file that are sent, without the framing of ``multipart/byteranges``."""
        return sum(piece.length for piece in self.pieces)

    @classmethod
    def by(cls, headers: MultiMapping[str], there: Validators, size: int, *, most: int) -> Self:
        """What `headers` select of a content of `size` bytes with the validators `there`; at most `most` ranges.

        Raises RangeNotSatisfiable.
        """
        accepts: dict[str, str] = {hdrs.ACCEPT_RANGES: "bytes"}
        value = field_value(headers, hdrs.RANGE)
        ranges = None
        if value is not None and range_holds(field_value(headers, hdrs.IF_RANGE), there):
            ranges = parse_range(value, size, most=most)
        if ranges is None:
            return cls([Piece(0, size)], headers=accepts)
        if len(ranges) == 1:
            only = ranges[0]
            answer: dict[str, str] = accepts | {hdrs.CONTENT_RANGE: only.content_range(size)}
            return cls([Piece(only.start, only.length)], 206, answer)
        boundary = secrets.token_hex(16)
        answer = accepts | {hdrs.CONTENT_TYPE: f"multipart/byteranges; boundary={boundary}"}
        pieces = [Piece(each.start, each.length, _part_head(boundary, each, size)) for each in ranges]
        return cls(pieces, 206, answer, f"\r\n--{boundary}--\r\n".encode())


def _part_head(boundary: str, range_: ByteRange, size: int) -> bytes:
    content_type = f"{hdrs.CONTENT_TYPE}: {EXPORT_HEADERS[hdrs.CONTENT_TYPE]}"
    content_range = f"{hdrs.CONTENT_RANGE}: {range_.content_range(size)}"
    return f"\r\n--{boundary}\r\n{content_type}\r\n{content_range}\r\n\r\n".encode()
