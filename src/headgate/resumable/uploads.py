"""All resumable uploads: those that are under way in this process, and what has become of the others.

Rules of this room:

- An upload is found in the table, or else where its bytes are: a killed process's, or another's on the same root.
- Whoever publishes is a task of ours, not a request: what is whole is published, though its client has gone.
- A stranger's upload is one that never was (G6); one that is over is gone (410) for as long as its job is remembered.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from uuid import UUID, uuid4

from headgate.config import Config, OnConflict
from headgate.errors import (
    AlreadyFinished,
    Expired,
    HeadgateError,
    JobIdTaken,
    NameTaken,
    ShuttingDown,
    TooLarge,
    UploadGone,
    UploadLocked,
    UploadNotFound,
)
from headgate.jobs import Job, Jobs, Kind, State
from headgate.resumable.parts import Parts
from headgate.resumable.publishing import Publisher
from headgate.resumable.record import Plan, Protocol, Record, owner_of
from headgate.resumable.upload import Upload
from headgate.storage import Kept, Storage
from headgate.transfer.receive import OnReceived

__all__ = ["ResumableUploads"]

logger = logging.getLogger("headgate.resumable")


class ResumableUploads:
    """The resumable uploads of one application. `reserved`: names that none may take."""

    def __init__(
        self,
        config: Config,
        jobs: Jobs,
        storage: Storage,
        *,
        reserved: frozenset[str],
        on_received: OnReceived | None,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._storage = storage
        self._reserved = reserved
        self._uploads: dict[UUID, Upload] = {}
        self.parts = Parts(self._uploads, config)
        self._publisher = Publisher(config, on_received, self.parts)
        self._creating: set[UUID] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._house: asyncio.Task[None] | None = None
        jobs.watch(self._changed)

    async def start(self) -> None:
        """Go on with what other processes left. Raises StorageFailed."""
        for id_ in await self._storage.all_kept():
            try:
                kept = await self._storage.find_kept(id_, owner_of)
                if kept is not None:
                    await self._adopt(kept)
            except HeadgateError as error:  # one that cannot be gone on with keeps no server down
                logger.error("the resumable upload %s cannot be gone on with: %s (%r)", id_, error, error.__cause__)
        self._complete_what_waits()
        self._house = asyncio.create_task(self._keep_house())

    async def close(self) -> None:
        """Every job has been let go of: finish what still goes on."""
        if self._house is not None:
            self._house.cancel()
            await asyncio.wait([self._house])
        if self._tasks:  # what ends an upload is not stopped half-way
            await asyncio.wait(self._tasks)
        for upload in self._uploads.values():
            upload.kept.let_go()
        self._uploads.clear()

    def _track(self, task: "asyncio.Task[None]") -> None:
        """A shutdown is to know of `task`."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def create(self, plan: Plan, *, owner: str, id_: UUID | None) -> Upload:
        """A new upload, durably, which nobody adds to yet.

        Raises NameTaken if that is known already, TooLarge, QuotaExceeded or StorageFull if it cannot have its length,
        UploadNotFound or UploadGone if its parts are not there, what ``Jobs.run()`` raises, and StorageFailed.
        """
        id_ = id_ or uuid4()
        self._jobs.check(owner, id_)
        if plan.parts and (made := await self._made_of(plan, owner)) is not None:
            return made
        if not plan.partial:
            if plan.name in self._reserved:
                raise NameTaken(f"{plan.name!r} is the name of a generated export.")
            taken = plan.name and plan.on_conflict is OnConflict.REJECT and await self._storage.look(plan.name)
            if taken:
                raise NameTaken(f"There is a file called {plan.name!r} already.")
        if (plan.length or 0) > self._config.max_file_size:
            raise TooLarge(f"A file may have {self._config.max_file_size} bytes.")
        told = {field.name: getattr(plan, field.name) for field in fields(Plan)}
        record = Record(**told, owner=owner, created_at=datetime.now(UTC))
        if id_ in self._creating:
            raise JobIdTaken
        self._creating.add(id_)  # until it has a job, nobody is to find it
        try:
            kept = await self._storage.keep(id_, owner, record.text())
            try:
                async with kept:
                    await kept.reserve(plan.length or 0, plan.length or 0)
                return self._enter(kept, record)
            except BaseException:
                await kept.discard()
                raise
        finally:
            self._creating.discard(id_)

    def _enter(self, kept: Kept, record: Record, *, known: bool = False) -> Upload:
        """Have a job for what is `kept`. Raises what ``Jobs.run()`` does, unless it was `known` before."""
        lease = self._jobs.lease(
            Kind.UPLOAD,
            owner=record.owner,
            id=kept.id,
            names=(record.name or str(kept.id),),
            bytes_total=record.length,
            unattended=self._unattended,
            known=known,
        )
        upload = self._uploads[kept.id] = Upload(lease.job, lease, kept, record, self.parts.has_expired)
        lease.job.reset(min(kept.size or 0, sys.maxsize if record.checked is None else record.checked))
        return upload

    async def _made_of(self, plan: Plan, owner: str) -> Upload | None:
        """The upload that was made of the same parts already: whoever asks again did not get the answer.

        Raises UploadNotFound, UploadGone, TooLarge.
        """
        parts = [await self.find(part, plan.protocol, lambda job: job.owner == owner) for part in plan.parts]
        if not all(part.record.partial for part in parts):
            raise UploadNotFound("Only partial uploads can be parts.")
        if sum(part.record.length or part.offset for part in parts) > self._config.max_file_size:
            raise TooLarge(f"A file may have {self._config.max_file_size} bytes.")
        spent = {part.record.outcome.part_of for part in parts if part.record.outcome is not None}
        if not spent:
            return None
        (whole, *others) = spent
        if whole is not None and not others:
            with contextlib.suppress(UploadNotFound, UploadGone):
                made = await self.find(whole, plan.protocol, lambda job: job.owner == owner)
                if made.record.parts == plan.parts:
                    return made
        raise UploadGone("A part was made a part of another upload already.")

    async def find(self, id_: UUID, protocol: Protocol, may: Callable[[Job], bool], *, wait: bool = True) -> Upload:
        """The upload `id_` that speaks `protocol`, whose job one `may` see; if it is being published, `wait` for that.

        Raises UploadNotFound, UploadGone if it has ended without an outcome, StorageFailed.
        """
        upload = self._uploads.get(id_) or await self._look_for(id_, may)
        if not may(upload.job) or upload.record.protocol is not protocol:
            raise UploadNotFound
        if self._jobs.closing and upload.record.outcome is None and self._jobs.get(id_) is None:
            raise ShuttingDown
        if wait:
            with contextlib.suppress(HeadgateError):
                await upload.when_finished()
        if self.parts.is_expired(upload):
            with contextlib.suppress(AlreadyFinished):
                upload.job.stop(Expired())
        cause = upload.job.cause
        if cause is not None and cause.final:
            await upload.job.wait_ended()
        if upload.job.state.ended and upload.record.outcome is None:
            raise UploadGone
        return upload

    async def _look_for(self, id_: UUID, may: Callable[[Job], bool]) -> Upload:
        if id_ in self._creating:
            raise UploadNotFound
        job = self._jobs.get(id_)
        kept = await self._storage.find_kept(id_, owner_of)
        upload = None if kept is None else await self._adopt(kept)
        if upload is None:
            gone = job is not None and job.kind is Kind.UPLOAD and job.state.ended and may(job)
            raise UploadGone if gone and job is not None and job.state is not State.COMPLETED else UploadNotFound
        return upload

    async def _adopt(self, kept: Kept) -> Upload | None:
        """What is `kept`, taken over from another process; None if it is of no use."""
        record = Record.read(kept.record)
        there = self._uploads.get(kept.id)
        if record is None or there is not None or (kept.size is None and record.outcome is None):
            kept.let_go()
            return there
        if record.outcome is not None or kept.published is not None:
            if record.outcome is None and kept.published is not None:  # killed between publishing it and saying so
                record = self._publisher.published(record, kept.published)
                await kept.note(record.text())
            if kept.size is not None:
                await kept.drop()
            kept.let_go()
            known = self._jobs.get(kept.id)
            job = known if known is not None and known.owner == record.owner else record.over(kept.id)
            return Upload(job, None, kept, record)
        try:
            upload = self._enter(kept, record, known=True)
        except JobIdTaken:  # somebody else's job has it
            kept.let_go()
            return None
        if upload.whole and record.protocol is Protocol.TUS:  # its client will not come again
            self.complete(upload)
        return upload

    def _complete_what_waits(self) -> None:
        """Publish what could be by now: what is made of parts, and what its client has sent and will not ask for."""
        for upload in list(self._uploads.values()):
            sent = upload.whole and upload.record.protocol is Protocol.TUS and not upload.record.partial
            if (sent or upload.record.parts) and upload.job.task is None:
                self.complete(upload)

    def complete(self, upload: Upload) -> "asyncio.Task[None] | None":
        """Every byte of `upload` is there: publish it, or the uploads that it was the last part of. In a task, which
        ends with what stood against it; None if others are still missing."""
        if upload.record.partial:
            for other in list(self._uploads.values()):
                if upload.job.id in other.record.parts:
                    self.complete(other)
            return None
        if upload.record.parts and not self.parts.are_all_there(upload):
            return None
        task = upload.finish(self._publisher.publish)
        self._track(task)
        return task

    async def completed(self, upload: Upload) -> None:
        """Wait until `upload`, whose bytes are all there, is published, or is to wait for others. Raises what stands
        against it."""
        task = self.complete(upload)
        if task is not None:
            await asyncio.shield(task)

    async def remove(self, upload: Upload, *, by: str) -> None:
        """End `upload`, or forget what has become of it. Raises what ``Jobs.terminate()`` does."""
        if not upload.job.state.ended:
            try:
                await self._jobs.terminate(upload.job, by=by)
                return
            except AlreadyFinished:
                await upload.job.wait_ended()
        await upload.kept.discard()

    def _unattended(self, job: Job) -> None:
        upload = self._uploads.get(job.id)
        if upload is not None:
            self._track(asyncio.create_task(self._end(upload)))

    async def _end(self, upload: Upload) -> None:
        try:
            await upload.discard()
        except UploadLocked as error:
            upload.job.retract(error)
        else:
            upload.lease.end()

    def _changed(self, job: Job) -> None:
        """A job has changed. If an upload is over, so is what needed it as a part."""
        if not job.state.ended or (upload := self._uploads.pop(job.id, None)) is None:
            return
        upload.kept.let_go()
        if upload.record.partial and upload.record.outcome is None:
            for other in list(self._uploads.values()):
                if upload.job.id in other.record.parts:
                    self.complete(other)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(self._config.sweep_interval)
            self._complete_what_waits()
            for upload in list(self._uploads.values()):
                if self.parts.is_expired(upload):
                    with contextlib.suppress(AlreadyFinished):
                        upload.job.stop(Expired())
                elif self.parts.expires_at(upload) > upload.kept.changed_at + self._config.upload_expiry:
                    with contextlib.suppress(HeadgateError):
                        await upload.kept.touch()  # its parts are still coming: no sweeper is to take it
