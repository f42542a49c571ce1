"""The record of a resumable upload: what is known of it besides its bytes, written down beside them as JSON.

The storage keeps the text of it, and adds what the upload was published as. `read_record` puts the two together.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from headgate.config import OnConflict
from headgate.jobs import JobInfo, Kind, State
from headgate.storage import PartialFile, Published

__all__ = ["NewUpload", "Outcome", "Protocol", "Record", "read_record"]


class Protocol(StrEnum):
    """The protocol of the client that created the upload: only that one goes on with it."""

    TUS = "tus"
    IETF = "ietf"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpload:
    """What a client asks for when it creates an upload."""

    protocol: Protocol
    #: The name that the file is to have, checked; None: the id of the upload.
    name: str | None
    on_conflict: OnConflict
    #: Bytes in all, if they are known.
    length: int | None
    #: Headers of the protocol that are given back as they came, as JSON.
    protocol_headers: str = ""
    #: True for a part of another upload, which is not published itself.
    partial: bool = False
    #: The ids of the partial uploads that it is made of.
    parts: tuple[UUID, ...] = ()
    #: Digests that the whole must have, by algorithm, and the algorithm of one that is asked for (RFC 9530).
    digests: Mapping[str, bytes] = field(default_factory=dict)
    wanted_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an upload: it was published, or, if it is a partial one, made a part of another upload."""

    name: str
    size: int  #: bytes
    replaced: bool = False
    digests: Mapping[str, bytes] = field(default_factory=dict)
    #: The entity tag of the published file.
    etag: str | None = None
    #: The id of the upload that a partial one was made a part of.
    part_of: UUID | None = None
    ended_at: datetime

    @classmethod
    def of(cls, published: Published, digests: Mapping[str, bytes], ended_at: datetime) -> "Outcome":
        entry = published.entry
        return cls(
            name=entry.name,
            size=entry.size,
            replaced=published.replaced,
            digests=digests,
            etag=entry.etag,
            ended_at=ended_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(NewUpload):
    """An upload that was created, and what became of it."""

    owner: str
    created_at: datetime
    #: The id of its job; None: that of its partial file.
    id: UUID | None = None
    #: The digest that was asked for, once the whole is there, by its algorithm.
    result_digests: Mapping[str, bytes] = field(default_factory=dict)
    outcome: Outcome | None = None

    def dump(self) -> str:
        """As JSON. `load` reads it."""
        outcome = self.outcome
        document: dict[str, Any] = {
            "protocol": self.protocol,
            "owner": self.owner,
            "id": None if self.id is None else str(self.id),
            "created_at": self.created_at.isoformat(),
            "name": self.name,
            "on_conflict": self.on_conflict,
            "length": self.length,
            "words": self.protocol_headers,
            "partial": self.partial,
            "parts": [str(part) for part in self.parts],
            "digests": _dump_digests(self.digests),
            "wanted": self.wanted_digest,
            "result_digests": _dump_digests(self.result_digests),
            "outcome": None
            if outcome is None
            else {
                "name": outcome.name,
                "size": outcome.size,
                "replaced": outcome.replaced,
                "digests": _dump_digests(outcome.digests),
                "etag": outcome.etag,
                "part_of": None if outcome.part_of is None else str(outcome.part_of),
                "ended_at": outcome.ended_at.isoformat(),
            },
        }
        return json.dumps(document)

    @classmethod
    def load(cls, text: str) -> "Record | None":
        """Read what `dump` wrote; None if `text` is no record."""
        try:
            document = json.loads(text)
            outcome = document["outcome"]
            return cls(
                protocol=Protocol(document["protocol"]),
                owner=document["owner"],
                id=UUID(document["id"]) if document.get("id") else None,
                created_at=datetime.fromisoformat(document["created_at"]),
                name=document["name"],
                on_conflict=OnConflict(document["on_conflict"]),
                length=document["length"],
                protocol_headers=document["words"],
                partial=document["partial"],
                parts=tuple(UUID(part) for part in document["parts"]),
                digests=_load_digests(document["digests"]),
                wanted_digest=document["wanted"],
                result_digests=_load_digests(document.get("result_digests", {})),
                outcome=None
                if outcome is None
                else Outcome(
                    name=outcome["name"],
                    size=outcome["size"],
                    replaced=outcome["replaced"],
                    digests=_load_digests(outcome["digests"]),
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


def read_record(partial: PartialFile) -> Record | None:
    """The record of `partial`, with the outcome if it was published; None if it has no record that can be read."""
    record = Record.load(partial.record)
    if record is None or record.outcome is not None or partial.published is None:
        return record
    ended_at = datetime.fromtimestamp(partial.changed_at, UTC)
    return replace(record, outcome=Outcome.of(partial.published, record.result_digests, ended_at))


def _dump_digests(digests: Mapping[str, bytes]) -> dict[str, str]:
    return {algorithm: b64encode(digest).decode() for algorithm, digest in digests.items()}


def _load_digests(digests: Mapping[str, str]) -> dict[str, bytes]:
    return {algorithm: b64decode(digest) for algorithm, digest in digests.items()}
