"""Uploads that are made of others (partial uploads, in tus), and when uploads expire: a whole as late as its parts."""

import time

from headgate.config import Config
from headgate.errors import UploadGone
from headgate.resumable.active_uploads import ActiveUploads
from headgate.resumable.record import NewUpload
from headgate.resumable.upload import Upload

__all__ = ["Parts"]


class Parts:
    """Which of the active `uploads` are made of which others."""

    def __init__(self, uploads: ActiveUploads, config: Config) -> None:
        self._uploads = uploads
        self._config = config

    def _all(self, upload: Upload) -> list[Upload | None]:
        owner = upload.record.owner
        return [self._uploads.get(id_, owner) for id_ in upload.record.parts]

    def of(self, upload: Upload) -> list[Upload]:
        """The parts of `upload`, in order. Raises UploadGone if one is gone."""
        there = self.still_there(upload)
        if len(there) < len(upload.record.parts):
            raise UploadGone("A part of the upload is gone.")
        return there

    def still_there(self, upload: Upload) -> list[Upload]:
        """The same, without those that are gone."""
        return [part for part in self._all(upload) if part is not None]

    def wholes(self, part: Upload) -> list[Upload]:
        """The uploads that are to be made of `part`, and of others."""
        id_, owner = part.job.id, part.record.owner
        return [other for other in self._uploads if id_ in other.record.parts and other.record.owner == owner]

    def are_all_there(self, upload: Upload) -> bool:
        """True if no part of `upload` is still to come: all are whole, or one is gone, so that it cannot be made."""
        parts = self._all(upload)
        return all(part is not None and part.whole for part in parts) or None in parts

    def length(self, upload: Upload) -> int | None:
        """Bytes that `upload` will have in all, as far as they are known."""
        if upload.record.outcome is not None:
            return upload.record.outcome.size
        if not upload.record.parts:
            return upload.record.length
        known = [part.record.length for part in self.still_there(upload) if part.record.length is not None]
        return sum(known) if len(known) == len(upload.record.parts) else None

    def pending(self, new: NewUpload, owner: str) -> Upload | None:
        """The upload that is about to be made as `new` says, if its client has asked for it before."""
        for upload in self._uploads:
            record = upload.record
            asked_for = new.parts, new.name, new.protocol_headers
            if record.owner == owner and (record.parts, record.name, record.protocol_headers) == asked_for:
                return upload
        return None

    def promised(self, owner: str) -> int:
        """Bytes in all of those uploads of `owner` that are still to be put together from parts, as far as known."""
        return sum(self.length(each) or 0 for each in self._uploads if each.record.owner == owner and each.record.parts)

    def expires_at(self, upload: Upload) -> float:
        """When `upload` expires if nothing comes: seconds since the epoch."""
        latest = [upload.partial.changed_at, *(part.partial.changed_at for part in self.still_there(upload))]
        return max(latest) + self._config.upload_expiry

    def has_expired(self, upload: Upload) -> bool:
        return self.expires_at(upload) < time.time()

    def is_expired(self, upload: Upload) -> bool:
        job = upload.live_job
        if job is None or job.state.ended or job.task is not None or upload.finishing is not None:
            return False
        return self.has_expired(upload)
