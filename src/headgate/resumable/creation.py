"""How a resumable upload begins: checked, promised its bytes, written down durably.

Rules of this room:

- What cannot be need not be begun: names, lengths, parts, quotas and the disk are looked at first.
- An id that the client chose may be another owner's, too (`underway.keys_of`).
- A final upload has to fit before it is made, together with all others of its owner that are still to be made.
"""

import contextlib
from dataclasses import fields
from datetime import UTC, datetime
from typing import Protocol as Interface
from uuid import UUID, uuid4

from headgate.config import Config, OnConflict
from headgate.errors import JobIdTaken, NameTaken, TooLarge, UploadGone, UploadNotFound
from headgate.jobs import JobRegistry
from headgate.resumable.active_uploads import keys_of
from headgate.resumable.parts import Parts
from headgate.resumable.record import NewUpload, Protocol, Record, owner_of
from headgate.resumable.upload import Upload
from headgate.storage import PartialFile, Storage
from headgate.units import readable

__all__ = ["Creation", "Find"]


class Find(Interface):
    """Finds the upload `id_` of `owner` that speaks `protocol`. Raises UploadNotFound, UploadGone, StorageFailed."""

    async def __call__(self, id_: UUID, protocol: Protocol, *, owner: str) -> Upload: ...


class Enter(Interface):
    """Begins a job for what is kept of an upload. Raises what ``JobRegistry.lease()`` does."""

    async def __call__(self, kept: PartialFile, record: Record, *, address: str | None) -> Upload: ...


class Creation:
    """Begins uploads. `enter` has a job for what is kept; `find` finds parts; `reserved`: names that none may take."""

    def __init__(
        self,
        config: Config,
        jobs: JobRegistry,
        storage: Storage,
        *,
        reserved: frozenset[str],
        parts: Parts,
        enter: Enter,
        find: Find,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._storage = storage
        self._reserved = reserved
        self._parts = parts
        self._enter = enter
        self._find = find
        self._creating: set[UUID] = set()

    def is_under_way(self, key: UUID) -> bool:
        """Is the upload kept under `key` still to have a job? Until then nobody is to find it."""
        return key in self._creating

    async def create(self, plan: NewUpload, *, owner: str, id_: UUID | None, address: str | None) -> Upload:
        """A new upload, durably, which nobody adds to yet.

        Raises NameTaken if that is known already, TooLarge, QuotaExceeded or StorageFull if it cannot have its length,
        UploadNotFound or UploadGone if its parts are not there, what ``JobRegistry.run()`` raises, and StorageFailed.
        """
        id_ = id_ or uuid4()
        self._jobs.check(owner, id_)
        length = plan.length or 0
        if plan.parts:
            made, length = await self._made_of(plan, owner)
            if made is not None:
                return made
        if not plan.partial:
            if plan.name in self._reserved:
                raise NameTaken(f"{plan.name!r} is the name of a generated export.")
            taken = plan.name and plan.on_conflict is OnConflict.REJECT and await self._storage.look(plan.name)
            if taken:
                raise NameTaken(f"There is a file called {plan.name!r} already.")
        # Parts may be named again and again: all that is made of an owner's parts has to fit together.
        length += self._parts.promised(owner) if plan.parts else 0
        if length > self._config.max_file_size:
            raise TooLarge(f"A file may have {readable(self._config.max_file_size)}; this one has {readable(length)}.")
        told = {field.name: getattr(plan, field.name) for field in fields(NewUpload)}
        record = Record(**told, owner=owner, created_at=datetime.now(UTC), id=id_)
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
        kept = await self._storage.keep(key, record.owner, record.text())
        try:
            async with kept:
                await kept.reserve(length, length)
            return await self._enter(kept, record, address=address)
        except BaseException:
            await kept.discard()
            raise

    async def _is_own(self, key: UUID, owner: str) -> bool:
        """Is what is kept under `key` of `owner`?"""
        kept = await self._storage.find_partial(key, owner_of)
        if kept is None:
            return False
        kept.let_go()
        return owner_of(kept.record) == owner

    async def _made_of(self, plan: NewUpload, owner: str) -> tuple[Upload | None, int]:
        """The upload that is made, or is to be made, of the same parts already, if there is one: whoever asks again did
        not get the answer. And the bytes that they have, as far as that is known.

        Raises UploadNotFound, UploadGone.
        """
        parts = [await self._find(part, plan.protocol, owner=owner) for part in plan.parts]
        if not all(part.record.partial for part in parts):
            raise UploadNotFound("Only partial uploads can be parts.")
        length = sum(part.record.length or part.offset for part in parts)
        spent = {part.record.outcome.part_of for part in parts if part.record.outcome is not None}
        if not spent:
            return self._parts.pending(plan, owner), length
        (whole, *others) = spent
        if whole is not None and not others:
            with contextlib.suppress(UploadNotFound, UploadGone):
                made = await self._find(whole, plan.protocol, owner=owner)
                if made.record.parts == plan.parts:
                    return made, length
        raise UploadGone("A part was made a part of another upload already.")
