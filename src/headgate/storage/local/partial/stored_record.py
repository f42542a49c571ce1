"""The record beside a partial file, as it lies in the staging directory.

Its first line is the storage's own, as JSON: whose the file is, where an unconfirmed chunk began, what the file was
published as. After it comes the text of the caller, which the storage does not read.

Rules of this file:

- A record is replaced at once and whole: written under another name, then renamed.
- Everything here blocks, and runs in threads.
"""

import json
import os
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from headgate.storage.entry import Entry, Published
from headgate.storage.local.disk.disk import Disk
from headgate.storage.local.disk.opening import open_own, unlink

__all__ = ["DRAFT", "RECORD", "SUFFIX", "StoredRecord", "read_stored", "write_stored"]

#: What the bytes of a partial file are called: its id, and this; their record: that, and this.
SUFFIX = ".kept"
RECORD = ".json"

#: What a record is called until it is whole, after the name of the bytes.
DRAFT = ".draft"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """What stands beside the bytes. `text`: the caller's."""

    text: str
    owner: str = ""
    #: Bytes from here on are of a chunk that was not confirmed; None where all count.
    chunk_start: int | None = None
    published: Published | None = None

    def with_text(self, text: str) -> "StoredRecord":
        return replace(self, text=text)

    def dump(self) -> str:
        """As it is written. `load` reads it."""
        own: dict[str, Any] = {"owner": self.owner}
        if self.chunk_start is not None:
            own["chunk_start"] = self.chunk_start
        if self.published is not None:
            entry = self.published.entry
            own["published"] = {
                "name": entry.name,
                "size": entry.size,
                "modified_at": entry.modified_at.isoformat(),
                "etag": entry.etag,
                "replaced": self.published.replaced,
            }
        return f"{json.dumps(own)}\n{self.text}"

    @classmethod
    def load(cls, dumped: str) -> "StoredRecord":
        """Read what `dump` wrote. Anything else is the caller's text as a whole."""
        line, newline, text = dumped.partition("\n")
        try:
            own = json.loads(line) if newline else {}
            published = own.get("published")
            return cls(
                text if newline else dumped,
                str(own.get("owner", "")),
                own.get("chunk_start"),
                None
                if published is None
                else Published(
                    Entry(
                        published["name"],
                        published["size"],
                        datetime.fromisoformat(published["modified_at"]),
                        published["etag"],
                    ),
                    published["replaced"],
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(dumped)


def read_stored(disk: Disk, label: str) -> tuple[StoredRecord, os.stat_result]:
    """The record of the partial file `label`, and its status. Raises OSError."""
    fd = open_own(label + RECORD, os.O_RDONLY, disk.staging)
    with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
        return StoredRecord.load(file.read()), os.fstat(fd)


def write_stored(disk: Disk, label: str, record: StoredRecord, *, durably: bool = True) -> None:
    """Make `record` that of the partial file `label`. Raises OSError."""
    draft = label + DRAFT
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(draft, flags, 0o600, dir_fd=disk.staging), "w", encoding="utf-8") as file:
            file.write(record.dump())
            file.flush()
            if durably:
                os.fsync(file.fileno())
        os.rename(draft, label + RECORD, src_dir_fd=disk.staging, dst_dir_fd=disk.staging)
    except BaseException:
        unlink(draft, disk.staging)
        raise
    if durably:
        os.fsync(disk.staging)
