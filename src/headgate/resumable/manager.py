"""All resumable uploads of an application: those that are under way in this process, and the records of the others.

Rules of this file:

- An upload is looked for among the active ones, then in the storage, where another process may have left it.
- Uploads are published by tasks of their own, not by requests: what is whole is published, though its client has gone.
- An upload of another owner answers as one that does not exist (G6); one that has ended is gone (410) for as long as
  its job is remembered.
"""

import asyncio
import contextlib
import logging
import time
from uuid import UUID, uuid4

from headgate.cluster.upload_locks import UploadLockManager
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
from headgate.resumable.outcome_history import OutcomeHistory
from headgate.resumable.parts import Parts
from headgate.resumable.publishing import Publisher
from headgate.resumable.record import Protocol, Record, read_record
from headgate.resumable.upload import Upload
from headgate.storage import PartialFile, Storage
from headgate.transfer.inbound.approval import OnReceived

__all__ = ["ResumableUploads"]

logger = logging.getLogger("headgate.resumable")


class ResumableUploads:
    """The resumable uploads of one application. `reserved`: names that no upload may take."""

    def __init__(
        self,
        config: Config,
        jobs: JobRegistry,
        storage: Storage,
        locks: UploadLockManager,
        bus: EventBus,
        *,
        reserved: frozenset[str],
        on_received: OnReceived | None,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._storage = storage
        self._locks = locks
        self._uploads = ActiveUploads()
        self.parts = Parts(self._uploads, config)
        self._creation = Creation(
            config, jobs, storage, locks, reserved=reserved, parts=self.parts, enter=self._enter, find=self.find
        )
        self.create = self._creation.create
        self._publisher = Publisher(config, on_received, self.parts, bus)
        self._outcomes = OutcomeHistory(config.max_outcomes_per_owner)
        self._tasks: set[asyncio.Task[None]] = set()
        self._housekeeping: asyncio.Task[None] | None = None
        jobs.listen(self._on_change)

    async def start(self) -> None:
        """Take over the uploads that other processes left, and publish those that are whole. Raises StorageFailed."""
        for id_ in await self._storage.list_partials():
            try:
                if (partial := await self._storage.find_partial(id_)) is not None:
                    await self._adopt(partial)
            except HeadgateError as error:  # one upload that cannot be taken over keeps no server from starting
                logger.error("the resumable upload %s cannot be taken over: %s (%r)", id_, error, error.__cause__)
        self._complete_what_waits()
        self._housekeeping = asyncio.create_task(self._housekeep())

    async def close(self) -> None:
        """Finish what still goes on. The registry has let go of every job."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait([self._housekeeping])
        if self._tasks:  # what ends an upload is not stopped half-way
            await asyncio.wait(self._tasks)
        for upload in self._uploads:
            upload.partial.release()
        self._uploads.clear()

    def _track(self, task: "asyncio.Task[None]") -> None:  # `close` waits for it
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _enter(
        self, partial: PartialFile, record: Record, *, address: str | None = None, known: bool = False
    ) -> Upload:
        """Begin a job for the upload with `partial`. `known`: by another process. Raises as ``JobRegistry.lease``."""
        id_ = record.id or partial.id
        lease = await self._jobs.lease(
            Kind.UPLOAD,
            owner=record.owner,
            id=id_,
            names=(record.name or str(id_),),
            bytes_total=record.length,
            on_stop_unattended=self._on_stop_unattended,
            address=address,
            known=known,
        )
        upload = Upload(partial, record, self._locks, lease=lease, has_expired=self.parts.has_expired)
        self._uploads.add(upload)
        lease.job.set_done(partial.size or 0)
        return upload

    async def find(
        self, id_: UUID, protocol: Protocol, *, owner: str, any_owner: bool = False, wait: bool = True
    ) -> Upload:
        """The upload `id_` of `owner` in `protocol`; also of another owner if `any_owner`. If it is being
        published, `wait` for that, and check whether the file is still what it was published as.

        Raises UploadNotFound, UploadGone if it has no outcome or its file is another by now, StorageFailed.
        """
        upload = self._uploads.get(id_, owner) or (self._uploads.of_any_owner(id_) if any_owner else None)
        upload = upload or await self._look_for(id_, owner, any_owner=any_owner)
        if upload.record.protocol is not protocol:
            raise UploadNotFound
        if self._jobs.closing and upload.record.outcome is None and self._jobs.get(id_, upload.record.owner) is None:
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
        """Return whether the file that `upload` was published as is still there: a client that is told that its upload
        is complete sends nothing more."""
        outcome = upload.record.outcome
        if outcome is None:
            return True
        if outcome.part_of is not None:  # of the file as long as the whole is
            with contextlib.suppress(UploadNotFound, UploadGone):
                return bool(await self.find(outcome.part_of, upload.record.protocol, owner=upload.record.owner))
            return False
        there = await self._storage.stat(outcome.name)
        return there is not None and there.etag == outcome.etag

    async def find_again(self, upload: Upload) -> Upload:
        """What has become of `upload`, which turned out to be over. Raises Terminated, and as `find` does."""
        try:
            return await self.find(upload.info().id, upload.record.protocol, owner=upload.record.owner)
        except UploadGone:
            job = upload.info()
            if job.state is State.TERMINATED and job.ended_by is not None:
                raise Terminated(job.ended_by) from None
            raise

    async def _look_for(self, id_: UUID, owner: str, *, any_owner: bool) -> Upload:
        """Look for the upload `id_` in the storage. Raises UploadNotFound, UploadGone, StorageFailed."""
        for key in keys_of(id_, owner):
            if self._creation.is_under_way(key):
                continue
            # The answer for an active upload of another owner is to take as long as for one that does not exist (G6).
            theirs = self._uploads.with_key(key) is not None
            partial = await self._storage.find_partial(uuid4() if theirs else key)
            if partial is not None and partial.owner != owner and not any_owner:
                partial.release()
            elif partial is not None and (upload := await self._adopt(partial)) is not None:
                return upload
        job = self._jobs.get(id_, None if any_owner else owner)
        gone = job is not None and job.kind is Kind.UPLOAD and job.state.ended and job.state is not State.COMPLETED
        raise UploadGone if gone else UploadNotFound

    async def _adopt(self, partial: PartialFile) -> Upload | None:
        """The upload with `partial`, taken over from another process; None if it is of no use."""
        record = read_record(partial)
        known = self._uploads.with_key(partial.id)
        if record is None or known is not None or (partial.size is None and record.outcome is None):
            partial.release()
            return known
        if record.outcome is not None:
            partial.release()  # first: whatever goes wrong now, none of it counts as still coming
            return await self._over(partial, record)
        try:
            upload = await self._enter(partial, record, known=True)
        except JobIdTaken:  # by another job of the same owner
            partial.release()
            return None
        if upload.whole and record.protocol is Protocol.TUS:  # its client will not come again
            self.complete(upload)
        return upload

    async def _over(self, partial: PartialFile, record: Record) -> Upload:
        """The upload with `partial`, which has an outcome. Its bytes may be left, by a process that was killed."""
        if partial.size is not None:
            with contextlib.suppress(HeadgateError):  # a full disk: the outcome is known all the same
                await partial.update_record(partial.record)
                await partial.delete_bytes()
        id_ = record.id or partial.id
        info = self._jobs.get(id_, record.owner) or record.completed_job(id_)
        return Upload(partial, record, self._locks, info=info)

    def _complete_what_waits(self) -> None:
        """Publish what can be published by now: uploads of parts, and whole ones whose client will not come again."""
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
        await upload.partial.discard()

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
        upload.partial.release()
        if upload.record.outcome is not None:
            if (oldest := self._outcomes.add(upload.record.owner, upload.partial)) is not None:
                self._track(asyncio.create_task(oldest.discard()))
        elif upload.record.partial:
            for whole in self.parts.wholes(upload):
                self.complete(whole)

    async def _housekeep(self) -> None:
        while True:
            await asyncio.sleep(self._config.sweep_interval)
            try:
                await self._tidy()
            except Exception:
                logger.exception("a round of housekeeping has failed; the next one comes")

    async def _tidy(self) -> None:
        self._complete_what_waits()
        self._outcomes.forget(before=time.time() - self._config.upload_expiry)
        for upload in self._uploads:
            if self.parts.is_expired(upload):
                with contextlib.suppress(AlreadyFinished):
                    upload.job.stop(Expired())
            elif self.parts.expires_at(upload) > upload.partial.changed_at + self._config.upload_expiry:
                with contextlib.suppress(HeadgateError):
                    await upload.partial.touch()  # its parts are still coming: the sweeper is not to take it
