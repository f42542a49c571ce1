"""Files as JSON: as the answer to an upload, and as an entry of ``GET /files``."""

from typing import Any

from headgate.storage import Entry
from headgate.transfer.inbound.approval import ReceivedFile
from headgate.web.responses import rfc3339
from headgate.wire.digest_fields import format_digests

__all__ = ["listed_file_json", "uploaded_file_json"]


def uploaded_file_json(file: ReceivedFile) -> dict[str, Any]:
    """A file that was just published: its name, its size in bytes, and its digests as Repr-Digest has them.

    The digests are members and not a header: a Repr-Digest header would be of this answer (RFC 9530, 3).
    """
    digest = {"repr_digest": format_digests(file.digests)} if file.digests else {}
    return {"name": file.name, "size": file.size} | digest


def listed_file_json(name: str, entry: Entry | None) -> dict[str, Any]:
    """A file that can be exported; `entry` is None for an export that is generated when it is asked for."""
    return {
        "name": name,
        "size": None if entry is None else entry.size,
        "modified_at": None if entry is None else rfc3339(entry.modified_at),
        "etag": None if entry is None else entry.etag,
        "generated": entry is None,
    }
