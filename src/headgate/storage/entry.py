"""Published files, as a storage tells of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

__all__ = ["Cursor", "Entry", "Expect", "Published", "SortKey", "expect_anything"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A published file, as it is listed."""

    name: str
    size: int  #: bytes
    modified_at: datetime
    #: A strong validator (RFC 9110, 8.8.1): another whenever the content is another.
    etag: str


class SortKey(StrEnum):
    """By what files are listed; those that are the same in it, by name."""

    NAME = "name"  #: the bytes of its UTF-8
    SIZE = "size"
    MODIFIED = "modified"

    def place(self, entry: Entry) -> "Cursor":
        """Where `entry` stands in a list that is ordered so."""
        number = 0
        if self is SortKey.SIZE:
            number = entry.size
        elif self is SortKey.MODIFIED:
            number = round(entry.modified_at.timestamp() * 1_000_000)
        return number, entry.name.encode()


#: A place in a list: size in bytes or time in microseconds, or 0; and a name. Nobody need stand there.
Cursor = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Published:
    """A file that has just been published, and whether it took another's place."""

    entry: Entry
    replaced: bool


#: Looks at what has a name now, None if nothing has; raises PreconditionFailed if that is not as expected.
Expect = Callable[[Entry | None], None]


def expect_anything(there: Entry | None) -> None:
    """Whatever is there may be."""
