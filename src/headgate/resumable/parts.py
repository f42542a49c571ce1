"""Uploads that are made of others, and for how long they all wait."""

import time
from collections.abc import Mapping
from uuid import UUID

from headgate.config import Config
from headgate.errors import UploadGone
from headgate.resumable.upload import Upload

__all__ = ["Parts"]


class Parts:
    """What is made of what among `uploads`: those that are under way."""

    def __init__(self, uploads: Mapping[UUID, Upload], config: Config) -> None:
        self._uploads = uploads
        self._config = config

    def find(self, id_: UUID) -> Upload | None:
        """The partial upload `id_`, if it is still there."""
        return self._uploads.get(id_)

    def of(self, upload: Upload) -> list[Upload]:
        """What `upload` is made of, in order. Raises UploadGone."""
        parts = [self.find(id_) for id_ in upload.record.parts]
        there = [part for part in parts if part is not None]
        if len(there) < len(parts):
            raise UploadGone("A part of the upload is gone.")
        return there

    def are_all_there(self, upload: Upload) -> bool:
        """Are all parts of `upload` whole? Also where one is gone, which will not get better."""
        parts = [self.find(id_) for id_ in upload.record.parts]
        return all(part is not None and part.whole for part in parts) or None in parts

    def length(self, upload: Upload) -> int | None:
        """Bytes that `upload` will have in all, as far as they are known."""
        if upload.record.outcome is not None:
            return upload.record.outcome.size
        if not upload.record.parts:
            return upload.record.length
        lengths = [part.record.length for id_ in upload.record.parts if (part := self.find(id_))]
        known = [length for length in lengths if length is not None]
        return sum(known) if len(known) == len(upload.record.parts) else None

    def expires_at(self, upload: Upload) -> float:
        """When it will be gone if nothing comes: seconds since the epoch."""
        latest = [upload.kept.changed_at]
        latest += [part.kept.changed_at for id_ in upload.record.parts if (part := self.find(id_))]
        return max(latest) + self._config.upload_expiry

    def has_expired(self, upload: Upload) -> bool:
        return self.expires_at(upload) < time.time()

    def is_expired(self, upload: Upload) -> bool:
        busy = upload.finishing is not None or upload.job.task is not None or upload.job.state.ended
        return not busy and self.has_expired(upload)
