"""The uploads that are under way in this process, and the keys under which a storage has uploads.

A storage has an upload under one key, which mostly is the id of its job. But a client chooses that id, and another
owner's upload may have it already: then the key is made of the id and of the owner. So an owner's upload is looked for
under both keys, and under no other, and nobody finds out anything of uploads of others (G6).
"""

from collections.abc import Iterator
from uuid import UUID, uuid5

from headgate.jobs import Job
from headgate.resumable.upload import Upload

__all__ = ["ActiveUploads", "keys_of"]


def keys_of(id_: UUID, owner: str) -> tuple[UUID, UUID]:
    """The keys under which an upload `id_` of `owner` may be stored: the second if another owner's has the first."""
    return id_, uuid5(id_, owner)


class ActiveUploads:
    """Uploads by their keys."""

    def __init__(self) -> None:
        self._uploads: dict[UUID, Upload] = {}
        self._by_job: dict[Job, Upload] = {}

    def __iter__(self) -> Iterator[Upload]:
        return iter(list(self._uploads.values()))

    def add(self, upload: Upload) -> None:
        self._uploads[upload.partial.id] = self._by_job[upload.job] = upload

    def with_key(self, key: UUID) -> Upload | None:
        """The upload that is stored under `key`, of any owner."""
        return self._uploads.get(key)

    def get(self, id_: UUID, owner: str) -> Upload | None:
        """The upload `id_` of `owner`."""
        found = (self._uploads.get(key) for key in keys_of(id_, owner))
        return next((each for each in found if each is not None and each.record.owner == owner), None)

    def of_any_owner(self, id_: UUID) -> Upload | None:
        """An upload `id_`, of any owner."""
        return self._uploads.get(id_) or next((each for each in self if each.job.id == id_), None)

    def remove(self, job: Job) -> Upload | None:
        """Forget the upload of `job`, if there is one, and return it."""
        upload = self._by_job.pop(job, None)
        if upload is not None:
            del self._uploads[upload.partial.id]
        return upload

    def clear(self) -> None:
        self._uploads.clear()
        self._by_job.clear()
