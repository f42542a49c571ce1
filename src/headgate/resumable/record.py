"""What is known of a resumable upload besides its bytes, as it is written down beside them."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from headgate.config import OnConflict
from headgate.jobs import JobInfo, Kind, State
from headgate.storage import Published

__all__ = ["NewUpload", "Outcome", "Protocol", "Record", "owner_of"]


class Protocol(StrEnum):
    """What the client speaks: bound to the upload when it is created."""

    TUS = "tus"
    IETF = "ietf"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """What a client wants of a new upload."""

    protocol: Protocol
    #: What the file is to be called, a name that was checked; None: as the upload itself.
    name: str | None
    on_conflict: OnConflict
    #: Bytes in all, if they are known.
    length: int | None
    #: The protocol's own words about it, given back as they are.
    words: str = ""
    #: It is a part of another upload, and is not published.
    partial: bool = False
    #: It is made of these partial ones.
    parts: tuple[UUID, ...] = ()
    #: Digests that the whole must have, and one that is wanted of it, by algorithm (RFC 9530).
    digests: Mapping[str, bytes] = field(default_factory=dict)
    wanted: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of it: published, or, of a partial one, a part of another upload."""

    name: str
    size: int  #: bytes
    replaced: bool = False
    digests: Mapping[str, bytes] = field(default_factory=dict)
    #: Its entity tag, if it was published.
    etag: str | None = None
    #: The upload that a partial one was made a part of.
    part_of: UUID | None = None
    ended_at: datetime

    @classmethod
    def of(cls, published: Published, digests: Mapping[str, bytes]) -> "Outcome":
        entry = published.entry
        return cls(
            name=entry.name,
            size=entry.size,
            replaced=published.replaced,
            digests=digests,
            etag=entry.etag,
            ended_at=datetime.now(UTC),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(NewUpload):
    """A plan that was taken, and how far it is."""

    owner: str
    created_at: datetime
    #: Its job's; where it is None, what the upload is kept under.
    id: UUID | None = None
    #: Bytes beyond these have not been held against their checksum yet: they do not count, whoever was killed.
    checked: int | None = None
    outcome: Outcome | None = None

    def text(self) -> str:
        """As JSON. `read` understands it."""
        outcome = self.outcome
        told: dict[str, Any] = {
            "protocol": self.protocol,
            "owner": self.owner,
            "id": None if self.id is None else str(self.id),
            "created_at": self.created_at.isoformat(),
            "name": self.name,
            "on_conflict": self.on_conflict,
            "length": self.length,
            "words": self.words,
            "partial": self.partial,
            "parts": [str(part) for part in self.parts],
            "digests": _told(self.digests),
            "wanted": self.wanted,
            "checked": self.checked,
            "outcome": None
            if outcome is None
            else {
                "name": outcome.name,
                "size": outcome.size,
                "replaced": outcome.replaced,
                "digests": _told(outcome.digests),
                "etag": outcome.etag,
                "part_of": None if outcome.part_of is None else str(outcome.part_of),
                "ended_at": outcome.ended_at.isoformat(),
            },
        }
        return json.dumps(told)

    @classmethod
    def read(cls, text: str) -> "Record | None":
        """What `text` says; None if that is no record: its writer was killed before it was whole."""
        try:
            told = json.loads(text)
            outcome = told["outcome"]
            return cls(
                protocol=Protocol(told["protocol"]),
                owner=told["owner"],
                id=UUID(told["id"]) if told.get("id") else None,
                created_at=datetime.fromisoformat(told["created_at"]),
                name=told["name"],
                on_conflict=OnConflict(told["on_conflict"]),
                length=told["length"],
                words=told["words"],
                partial=told["partial"],
                parts=tuple(UUID(part) for part in told["parts"]),
                digests=_read(told["digests"]),
                wanted=told["wanted"],
                checked=told["checked"],
                outcome=None
                if outcome is None
                else Outcome(
                    name=outcome["name"],
                    size=outcome["size"],
                    replaced=outcome["replaced"],
                    digests=_read(outcome["digests"]),
                    etag=outcome["etag"],
                    part_of=None if outcome["part_of"] is None else UUID(outcome["part_of"]),
                    ended_at=datetime.fromisoformat(outcome["ended_at"]),
                ),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def completed_job(self, id_: UUID) -> JobInfo:
        """The job of the upload `id_`, which has an outcome, as the process that completed it knew it."""
        outcome = self.outcome
        assert outcome is not None
        return JobInfo(
            id=id_,
            kind=Kind.UPLOAD,
            state=State.COMPLETED,
            owner=self.owner,
            names=(outcome.name,),
            bytes_done=outcome.size,
            bytes_total=outcome.size,
            rate=0.0,
            limit=None,
            created_at=self.created_at,
            updated_at=outcome.ended_at,
            ended_at=outcome.ended_at,
            ended_by=None,
            reason=None,
            address=None,
            id_text=str(id_),
        )


def owner_of(text: str) -> str:
    """Whose the upload with the record `text` is."""
    record = Record.read(text)
    return "" if record is None else record.owner


def _told(digests: Mapping[str, bytes]) -> dict[str, str]:
    return {algorithm: b64encode(digest).decode() for algorithm, digest in digests.items()}


def _read(digests: Mapping[str, str]) -> dict[str, bytes]:
    return {algorithm: b64decode(digest) for algorithm, digest in digests.items()}
