"""The values that pass between a storage and its callers. Each can be kept, compared, and sent to another process."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from headgate.errors import PreconditionFailed

__all__ = [
    "NO_PRECONDITION",
    "Capabilities",
    "Cursor",
    "Entry",
    "ExpectedSize",
    "Precondition",
    "Published",
    "SortKey",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """A published file, as it is listed."""

    name: str
    size: int  #: bytes
    modified_at: datetime
    #: A strong validator (RFC 9110, 8.8.1), without quotes: another whenever the content is another.
    etag: str


class SortKey(StrEnum):
    """By what files are listed; those that are equal in it, by name."""

    NAME = "name"  #: the bytes of its UTF-8
    SIZE = "size"
    MODIFIED = "modified"

    def cursor(self, entry: Entry) -> "Cursor":
        """Where `entry` stands in a list that is sorted by this key."""
        number = 0
        if self is SortKey.SIZE:
            number = entry.size
        elif self is SortKey.MODIFIED:
            number = round(entry.modified_at.timestamp() * 1_000_000)
        return number, entry.name.encode()


#: A place in a list: the size in bytes, the time in microseconds, or 0; and a name. No file need stand there.
Cursor = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Published:
    """A file that was published, and whether another file had its name before."""

    entry: Entry
    replaced: bool


class ExpectedSize(NamedTuple):
    """Bytes that are still to come: at least and at most. Equal where the sender told its length."""

    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """What has to hold of the file that has a name, for the name to be given to another file, or removed (RFC 9110,
    13.1). None: no such condition."""

    #: There has to be a file (``If-Match: *``), or there must not be one (``If-None-Match: *``).
    exists: bool | None = None
    #: The file has one of these entity tags (``If-Match``).
    etags: frozenset[str] | None = None
    #: If there is a file, it has none of these (``If-None-Match``).
    other_than: frozenset[str] | None = None
    #: There is a file, and it was not modified after this second (``If-Unmodified-Since``).
    unmodified_since: datetime | None = None

    def check(self, there: Entry | None) -> None:
        """Raise PreconditionFailed if it does not hold of `there`, the file that has the name; None: no file has it."""
        etag = None if there is None else there.etag
        holds = (
            (self.exists is None or self.exists is (there is not None))
            and (self.etags is None or etag in self.etags)
            and (self.other_than is None or etag not in self.other_than)
            and (self.unmodified_since is None or (there is not None and not _is_newer(there, self.unmodified_since)))
        )
        if not holds:
            raise PreconditionFailed


NO_PRECONDITION = Precondition()


def _is_newer(there: Entry, date: datetime) -> bool:
    """Compare as HTTP can tell times: by whole seconds, none of them in the future (RFC 9110, 8.8.2.1)."""
    return min(there.modified_at, datetime.now(UTC)).replace(microsecond=0) > date


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a storage can do of that which not every storage can. Only this is offered to clients."""

    #: Files that one stage publishes all or none of.
    max_files_per_stage: int
    #: By what it can list files, and whether in descending order, too.
    sort_keys: frozenset[SortKey]
    descending: bool
    #: It can append a partial file to another without sending the bytes through this process.
    concatenation: bool
