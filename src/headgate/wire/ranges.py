"""Byte ranges (RFC 9110, 14; section numbers are its own): ``Range`` to offsets, and offsets to ``Content-Range``.

Rules of this file:

- A Range that does not parse is ignored, as if it had not been sent (14.2); one that parses and lies outside of the
  content is refused (416).
- The work that a request can ask for is bounded: by the number of ranges, and because no two may overlap.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from headgate.errors import RangeNotSatisfiable

__all__ = ["ByteRange", "parse_range"]

_RANGE = re.compile(r"(\d{0,20})-(\d{0,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes, from `start` on."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.start + self.length

    def content_range(self, size: int) -> str:
        """The value of ``Content-Range`` (14.4), of a content of `size` bytes."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def parse_range(value: str, size: int, *, most: int) -> list[ByteRange] | None:
    """The ranges that `value` asks for of a content of `size` bytes, in its order; None if `value` is to be ignored.

    Ignored are: what does not parse; more than `most` ranges; ranges that overlap, which would send more than there is
    (14.2 allows a server to ignore them); and the last bytes of an empty content, which are all of it, while no
    Content-Range could say so (14.1.1). Raises RangeNotSatisfiable if no range lies within the content.
    """
    unit, _, specs = value.partition("=")
    if unit.strip().lower() != "bytes" or specs.count(",") >= most:
        return None
    ranges = []
    for spec in specs.split(","):
        match = _RANGE.fullmatch(spec.strip(" \t"))
        if match is None or match[0] == "-":
            return None
        first, last = (int(text) if text else None for text in match.groups())
        if first is None:
            assert last is not None
            if last and not size:
                return None
            start, end = max(0, size - last), size
        else:
            if last is not None and last < first:
                return None
            start, end = first, size if last is None else min(size, last + 1)
        if start < end:
            ranges.append(ByteRange(start, end - start))
    if not ranges:
        raise RangeNotSatisfiable(size)
    ordered = sorted(ranges, key=lambda each: each.start)
    if any(before.end > after.start for before, after in pairwise(ordered)):
        return None
    return ranges
