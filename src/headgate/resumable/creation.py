"""How a resumable upload is created: checked, given a partial file and a record, durably, and a job.

Rules of this file:

- What is bound to fail is refused first: names, lengths, parts, quotas and the free space of the disk are checked
  before anything is created.
- An id that the client chose may be another owner's, too (`keys_of`).
- An upload that is made of parts has to fit before it is made, together with all others of its owner that are still to
  be made.
"""

import contextlib
from dataclasses import fields
from datetime import UTC, datetime
from typing import Protocol as Interface
from uuid import UUID, uuid4

from headgate.cluster.upload_locks import UploadLockManager
from headgate.config import Config, OnConflict
from headgate.errors import JobIdTaken, NameTaken, TooLarge, UploadGone, UploadNotFound
from headgate.jobs import JobRegistry
from headgate.lowlevel.cancellation import uninterrupted
from headgate.lowlevel.readable_size import readable
from headgate.resumable.active_uploads import keys_of
from headgate.resumable.parts import Parts
from headgate.resumable.record import NewUpload, Protocol, Record
from headgate.resumable.upload import Upload
from headgate.storage import ExpectedSize, PartialFile, Storage

__all__ = ["Creation", "Find"]


class Find(Interface):
    """Finds the upload `id_` of `owner` in `protocol`. Raises UploadNotFound, UploadGone, StorageFailed."""

    async def __call__(self, id_: UUID, protocol: Protocol, *, owner: str) -> Upload: ...


class Enter(Interface):
    """Begins a job for an upload. Raises what ``JobRegistry.lease()`` does."""

    async def __call__(self, partial: PartialFile, record: Record, *, address: str | None) -> Upload: ...


class Creation:
    """Creates uploads. `enter` begins their jobs; `find` finds parts; `reserved`: names that no upload may take."""

    def __init__(
        self,
        config: Config,
        jobs: JobRegistry,
        storage: Storage,
        locks: UploadLockManager,
        *,
        reserved: frozenset[str],
        parts: Parts,
        enter: Enter,
        find: Find,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._storage = storage
        self._locks = locks
        self._reserved = reserved
        self._parts = parts
        self._enter = enter
        self._find = find
        self._creating: set[UUID] = set()

    def is_under_way(self, key: UUID) -> bool:
        """True if the upload that is stored under `key` has no job yet, and is not to be found before it has."""
        return key in self._creating

    async def create(self, new: NewUpload, *, owner: str, id_: UUID | None, address: str | None) -> Upload:
        """Create an upload, durably; its bytes come with `Upload.append`. `address`: where the request came from.

        Raises NameTaken if that is known already, TooLarge, QuotaExceeded or StorageFull if it cannot have its length,
        UploadNotFound or UploadGone if its parts are not there, what ``JobRegistry.run()`` raises, and StorageFailed.
        """
        id_ = id_ or uuid4()
        self._jobs.check(owner, id_)
        length = new.length or 0
        if new.parts:
            made, length = await self._made_of(new, owner)
            if made is not None:
                return made
        if not new.partial:
            if new.name in self._reserved:
                raise NameTaken(f"{new.name!r} is the name of a generated export.")
            taken = new.name and new.on_conflict is OnConflict.REJECT and await self._storage.stat(new.name)
            if taken:
                raise NameTaken(f"There is a file called {new.name!r} already.")
        # Parts may be named again and again: all that is made of an owner's parts has to fit together.
        length += self._parts.promised(owner) if new.parts else 0
        if length > self._config.max_file_size:
            raise TooLarge(f"A file may have {readable(self._config.max_file_size)}; this one has {readable(length)}.")
        fields_ = {field.name: getattr(new, field.name) for field in fields(NewUpload)}
        record = Record(**fields_, owner=owner, created_at=datetime.now(UTC), id=id_)
        for key in keys_of(id_, owner):
            if key in self._creating:
                continue
            self._creating.add(key)
            try:
                return await self._begin(key, record, length, address)
            except JobIdTaken:
                if await self._is_own(key, owner):
                    raise
            finally:
                self._creating.discard(key)
        raise JobIdTaken

    async def _begin(self, key: UUID, record: Record, length: int, address: str | None) -> Upload:
        partial = await self._storage.create_partial(key, record.owner, record.dump())
        try:
            lock = await self._locks.acquire(key, on_requested=lambda: None)
            try:
                async with partial:
                    await partial.reserve(ExpectedSize(length, length))
            finally:
                await uninterrupted(lock.release())
            return await self._enter(partial, record, address=address)
        except BaseException:
            await partial.discard()
            raise

    async def _is_own(self, key: UUID, owner: str) -> bool:
        """Return whether the upload that is stored under `key` is of `owner`."""
        partial = await self._storage.find_partial(key)
        if partial is None:
            return False
        partial.release()
        return partial.owner == owner

    async def _made_of(self, new: NewUpload, owner: str) -> tuple[Upload | None, int]:
        """The upload that was made, or is to be made, of the same parts already, if there is one (its client asks
        again, because it did not get the answer); and the bytes that the parts have, as far as that is known.

        Raises UploadNotFound, UploadGone.
        """
        parts = [await self._find(part, new.protocol, owner=owner) for part in new.parts]
        if not all(part.record.partial for part in parts):
            raise UploadNotFound("Only partial uploads can be parts.")
        length = sum(part.record.length or part.offset for part in parts)
        spent = {part.record.outcome.part_of for part in parts if part.record.outcome is not None}
        if not spent:
            return self._parts.pending(new, owner), length
        (whole, *others) = spent
        if whole is not None and not others:
            with contextlib.suppress(UploadNotFound, UploadGone):
                made = await self._find(whole, new.protocol, owner=owner)
                if made.record.parts == new.parts:
                    return made, length
        raise UploadGone("A part was made a part of another upload already.")
