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
import time
from uuid import UUID, uuid4

from headgate.config import Config
from headgate.errors import (
    AlreadyFinished,
    Expired,
    HeadgateError,
    JobIdTaken,
    ShuttingDown,
    Terminated,
    UploadGone,
    UploadLocked,
    UploadNotFound,
)
from headgate.events import EventBus
from headgate.jobs import Actor, Job, JobRegistry, Kind, ResumableJob, State
from headgate.resumable.active_uploads import ActiveUploads, keys_of
from headgate.resumable.creation import Creation
from headgate.resumable.outcomes import Outcomes
from headgate.resumable.parts import Parts
from headgate.resumable.publishing import Publisher
from headgate.resumable.record import Protocol, Record, owner_of
from headgate.resumable.upload import Upload
from headgate.storage import PartialFile, Storage
from headgate.transfer.inbound.approval import OnReceived

__all__ = ["ResumableUploads"]

logger = logging.getLogger("headgate.resumable")


class ResumableUploads:
    """The resumable uploads of one application. `reserved`: names that none may take."""

    def __init__(
        self,
        config: Config,
        jobs: JobRegistry,
        storage: Storage,
        bus: EventBus,
        *,
        reserved: frozenset[str],
        on_received: OnReceived | None,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._storage = storage
        self._uploads = ActiveUploads()
        self.parts = Parts(self._uploads, config)
        self._creation = Creation(
            config, jobs, storage, reserved=reserved, parts=self.parts, enter=self._enter, find=self.find
        )
        #: Begins an upload.
        self.create = self._creation.create
        self._publisher = Publisher(config, on_received, self.parts, bus)
        self._outcomes = Outcomes(config.max_outcomes_per_owner)
        self._tasks: set[asyncio.Task[None]] = set()
        self._house: asyncio.Task[None] | None = None
        jobs.listen(self._on_change)

    async def start(self) -> None:
        """Go on with what other processes left. Raises StorageFailed."""
        for id_ in await self._storage.all_partials():
            try:
                if (kept := await self._storage.find_partial(id_, owner_of)) is not None:
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
        for upload in self._uploads:
            upload.kept.let_go()
        self._uploads.clear()

    def _track(self, task: "asyncio.Task[None]") -> None:  # a shutdown is to know of it
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _enter(
        self, kept: PartialFile, record: Record, *, address: str | None = None, known: bool = False
    ) -> Upload:
        """Begin a job for what is `kept`. `known`: another process had one. Raises what ``JobRegistry.lease()``
        does."""
        lease = await self._jobs.lease(
            Kind.UPLOAD,
            owner=record.owner,
            id=record.id or kept.id,
            names=(record.name or str(record.id or kept.id),),
            bytes_total=record.length,
            on_stop_unattended=self._on_stop_unattended,
            address=address,
            known=known,
        )
        upload = Upload(kept, record, lease=lease, has_expired=self.parts.has_expired)
        self._uploads.add(upload)
        lease.job.set_done(min(kept.size or 0, sys.maxsize if record.checked is None else record.checked))
        return upload

    async def find(
        self, id_: UUID, protocol: Protocol, *, owner: str, anybodys: bool = False, wait: bool = True
    ) -> Upload:
        """The upload `id_` of `owner` in `protocol`, or somebody else's if `anybodys` may be seen. If it is
        being published, `wait` for that, and look whether the file is still what it was published as.

        Raises UploadNotFound, UploadGone if it has no outcome or its file is another by now, StorageFailed.
        """
        upload = self._uploads.get(id_, owner) or (self._uploads.of_anybody(id_) if anybodys else None)
        upload = upload or await self._look_for(id_, owner, anybodys=anybodys)
        if upload.record.protocol is not protocol:
            raise UploadNotFound
        if self._jobs.closing and upload.record.outcome is None and self._jobs.find(id_, upload.record.owner) is None:
            raise ShuttingDown
        if wait:
            with contextlib.suppress(HeadgateError):
                await upload.when_finished()
        if self.parts.is_expired(upload):
            with contextlib.suppress(AlreadyFinished):
                upload.job.stop(Expired())
        job = upload.live_job
        if job is not None and job.is_ending:
            with contextlib.suppress(HeadgateError):  # it was refused to end, and goes on
                await job.wait_ended()
        if upload.has_ended and upload.record.outcome is None:
            raise UploadGone
        if wait and not await self._has_its_file(upload):
            raise UploadGone("Its file was deleted or replaced since.")
        return upload

    async def _has_its_file(self, upload: Upload) -> bool:
        """Is what `upload` was published as still there? Whoever is told that it is complete sends nothing more."""
        outcome = upload.record.outcome
        if outcome is None:
            return True
        if outcome.part_of is not None:  # as long as the whole has it
            with contextlib.suppress(UploadNotFound, UploadGone):
                return bool(await self.find(outcome.part_of, upload.record.protocol, owner=upload.record.owner))
            return False
        there = await self._storage.look(outcome.name)
        return there is not None and there.etag == outcome.etag

    async def find_again(self, upload: Upload) -> Upload:
        """`upload`, which turned out to be over: what has become of it. Raises Terminated, and as `find` does."""
        try:
            return await self.find(upload.info().id, upload.record.protocol, owner=upload.record.owner)
        except UploadGone:
            job = upload.info()
            if job.state is State.TERMINATED and job.ended_by is not None:
                raise Terminated(job.ended_by) from None
            raise

    async def _look_for(self, id_: UUID, owner: str, *, anybodys: bool) -> Upload:
        """What is kept of the upload, by whatever process."""
        for key in keys_of(id_, owner):
            if self._creation.is_under_way(key):
                continue
            # What another owner has under way is not to take less time than what never was (G6).
            theirs = self._uploads.kept_as(key) is not None
            kept = await self._storage.find_partial(uuid4() if theirs else key, owner_of)
            if kept is not None and owner_of(kept.record) != owner and not anybodys:
                kept.let_go()
            elif kept is not None and (upload := await self._adopt(kept)) is not None:
                return upload
        job = self._jobs.find(id_, None if anybodys else owner)
        gone = job is not None and job.kind is Kind.UPLOAD and job.state.ended and job.state is not State.COMPLETED
        raise UploadGone if gone else UploadNotFound

    async def _adopt(self, kept: PartialFile) -> Upload | None:
        """What is `kept`, taken over from another process; None if it is of no use."""
        record = Record.read(kept.record)
        there = self._uploads.kept_as(kept.id)
        if record is None or there is not None or (kept.size is None and record.outcome is None):
            kept.let_go()
            return there
        if record.outcome is not None or kept.published is not None:
            kept.let_go()  # first: whatever goes wrong now, nothing of it is counted as on its way any more
            return await self._over(kept, record)
        try:
            upload = await self._enter(kept, record, known=True)
        except JobIdTaken:  # another job of its owner's has it
            kept.let_go()
            return None
        if upload.whole and record.protocol is Protocol.TUS:  # its client will not come again
            self.complete(upload)
        return upload

    async def _over(self, kept: PartialFile, record: Record) -> Upload:
        """What is `kept` has been published."""
        if record.outcome is None and kept.published is not None:  # killed between publishing it and saying so
            record = self._publisher.published(record, kept.published)
            with contextlib.suppress(HeadgateError):  # a full disk: it is told all the same, and noted the next time
                await kept.note(record.text())
                await kept.drop()
        elif kept.size is not None:
            await kept.drop()
        id_ = record.id or kept.id
        info = self._jobs.find(id_, record.owner) or record.completed_job(id_)
        return Upload(kept, record, info=info)

    def _complete_what_waits(self) -> None:
        """Publish what could be by now: what is made of parts, and what its client has sent and will not ask for."""
        for upload in self._uploads:
            sent = upload.whole and upload.record.protocol is Protocol.TUS and not upload.record.partial
            if (sent or upload.record.parts) and upload.job.task is None:
                self.complete(upload)

    def complete(self, upload: Upload) -> "asyncio.Task[None] | None":
        """Every byte of `upload` is there: publish it, or the uploads that it was the last part of. In a task, which
        ends with what stood against it; None if others are still missing."""
        if upload.record.partial:
            for whole in self.parts.wholes(upload):
                self.complete(whole)
            return None
        if upload.record.parts and not self.parts.are_all_there(upload):
            return None
        task = upload.finish(self._publisher.publish)
        self._track(task)
        return task

    async def completed(self, upload: Upload) -> None:
        """Wait until `upload`, whose bytes are all there, is published, or is to wait for others. Raises what stands
        against it."""
        if (task := self.complete(upload)) is not None:
            await asyncio.shield(task)

    async def remove(self, upload: Upload, *, by: Actor) -> None:
        """End `upload`, or forget what has become of it. Raises what ``JobRegistry.terminate()`` does."""
        if not upload.has_ended:
            try:
                await self._jobs.terminate(upload.job, by=by)
                return
            except AlreadyFinished:
                await upload.job.wait_ended()
        await upload.kept.discard()

    def _on_stop_unattended(self, job: ResumableJob) -> None:
        if (upload := self._uploads.get(job.id, job.owner)) is not None:
            self._track(asyncio.create_task(self._end(upload)))

    async def _end(self, upload: Upload) -> None:
        try:
            await upload.discard()
        except UploadLocked as error:
            upload.job.cancel_stop(error)
        except AlreadyFinished:  # another process has completed it, and so has its job
            upload.lease.release()
        else:
            upload.lease.end()

    def _on_change(self, job: Job, by: Actor | None) -> None:
        """A job has changed. If an upload is over, so is what needed it as a part."""
        if not job.state.ended or (upload := self._uploads.remove(job)) is None:
            return
        upload.kept.let_go()
        if upload.record.outcome is not None:
            if (oldest := self._outcomes.add(upload.record.owner, upload.kept)) is not None:
                self._track(asyncio.create_task(oldest.discard()))
        elif upload.record.partial:
            for whole in self.parts.wholes(upload):
                self.complete(whole)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(self._config.sweep_interval)
            try:
                await self._look_around()
            except Exception:
                logger.exception("a round of housekeeping has failed; the next one comes")

    async def _look_around(self) -> None:
        self._complete_what_waits()
        self._outcomes.forget(before=time.time() - self._config.upload_expiry)
        for upload in self._uploads:
            if self.parts.is_expired(upload):
                with contextlib.suppress(AlreadyFinished):
                    upload.job.stop(Expired())
            elif self.parts.expires_at(upload) > upload.kept.changed_at + self._config.upload_expiry:
                with contextlib.suppress(HeadgateError):
                    await upload.kept.touch()  # its parts are still coming: no sweeper is to take it
