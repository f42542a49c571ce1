"""One resumable upload: its job, its partial file, its record; and how bytes are added to it.

A request that adds bytes attaches to the upload: to its job (`Lease`), then to its lock (`UploadLockManager`), then to
its partial file. The one that was attached before is told to stop, keeps what has arrived, and leaves.

Rules of this file:

- The bytes in the partial file are the offset. Bytes that come with a checksum count only when that was right.
- What ends an upload for good removes its bytes before the job is over (G1).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace

from headgate.cluster.upload_locks import UploadLockManager
from headgate.config import Config
from headgate.errors import (
    Abandoned,
    AlreadyFinished,
    Expired,
    FinalUpload,
    HeadgateError,
    InconsistentLength,
    OffsetMismatch,
    ServerError,
    Superseded,
    TooLarge,
    UploadGone,
    UploadLocked,
)
from headgate.jobs import JobInfo, Lease, ResumableJob
from headgate.lowlevel.cancellation import uninterrupted
from headgate.lowlevel.readable_size import readable
from headgate.resumable.append import Append, Sender
from headgate.resumable.record import Record, read_record
from headgate.resumable.write_body import write_body
from headgate.storage import ExpectedSize, PartialFile

__all__ = ["Upload"]


class Upload:
    """A resumable upload: one that has a `lease` on its job, or one that was over before this process knew of it, of
    whose job there is only an `info`. `has_expired`: whether nothing has come for so long that it may go."""

    def __init__(
        self,
        partial: PartialFile,
        record: Record,
        locks: UploadLockManager,
        *,
        lease: Lease | None = None,
        info: JobInfo | None = None,
        has_expired: "Callable[[Upload], bool]" = lambda _: False,
    ) -> None:
        self.partial = partial
        self.record = record
        self._locks = locks
        self._lease = lease
        self._info = info
        self._has_expired = has_expired
        self._has_unconfirmed_bytes = False
        if lease is not None:
            lease.discard = self.discard
        #: The job of the upload that is being published, and of which this one is a part: only one may be.
        self.claimed_by: ResumableJob | None = None
        #: The task that publishes it, while that goes on.
        self.finishing: asyncio.Task[None] | None = None

    @property
    def lease(self) -> Lease:
        """The lease on its job. An upload that was over before this process knew of it has none."""
        assert self._lease is not None
        return self._lease

    @property
    def job(self) -> ResumableJob:
        """Its job, where it has a lease."""
        return self.lease.job

    @property
    def live_job(self) -> ResumableJob | None:
        """Its job; None if the upload was over before this process knew of it."""
        return None if self._lease is None else self._lease.job

    @property
    def has_ended(self) -> bool:
        """True if its job has ended."""
        return self._lease is None or self._lease.job.state.ended

    @property
    def is_being_completed(self) -> bool:
        """True once every byte is there: it is, or is about to be, published, or has ended."""
        return self.has_ended or self.finishing is not None or self.job.all_received

    def info(self) -> JobInfo:
        """Its job as it is now."""
        return self.job.info() if self._info is None else self._info

    @property
    def name(self) -> str:
        """The name that its file is meant to have."""
        return self.record.name or self.info().id_text

    @property
    def offset(self) -> int:
        """Bytes that it has, or had when it was published."""
        if self.record.outcome is not None:
            return self.record.outcome.size
        return self.partial.size or 0

    @property
    def whole(self) -> bool:
        """True if every byte is there and, where it came with a checksum, was right. Only where the length is known."""
        record = self.record
        return not record.parts and not self._has_unconfirmed_bytes and record.length == self.offset

    async def update_record(self, **changes: object) -> None:
        """Write down, durably, what has changed of the record."""
        record = replace(self.record, **changes)  # type: ignore[arg-type]  # by name, as the record has them
        await self.partial.update_record(record.dump())
        self.record = record

    @asynccontextmanager
    async def attached(self, *, ends: Callable[[BaseException], bool] = lambda _: False) -> AsyncIterator[ResumableJob]:
        """The job, with the current task attached, and the partial file entered; a request that had them has left.

        On exit the bytes are kept, unless the job was stopped for good or the error is one that `ends` it. Raises
        UploadGone if the bytes are gone, UploadLocked, and what ``Lease.attach`` does.
        """
        attachment = self.lease.attach()
        async with attachment as job:
            try:
                async with AsyncExitStack() as stack:
                    try:
                        await stack.enter_async_context(self._locked(on_requested=lambda: _release(job)))
                        await stack.enter_async_context(self.partial)
                        self._read_record()
                    except UploadGone:
                        if await self._is_completed_elsewhere():
                            raise AlreadyFinished from None
                        attachment.gives_up = True
                        raise
                    try:
                        yield job
                    except BaseException as error:
                        attachment.gives_up = ends(error)
                        raise
            finally:  # it was left, so what it has is known
                if self.partial.size is not None:
                    job.set_done(self.partial.size)

    @asynccontextmanager
    async def _locked(self, *, on_requested: Callable[[], object]) -> AsyncIterator[None]:
        lock = await self._locks.acquire(self.partial.id, on_requested=on_requested)
        try:
            yield
        finally:
            await uninterrupted(lock.release())

    def _read_record(self) -> None:
        """Go on from the record that was read on entering: another process may have had the upload. Raises UploadGone
        if it is over."""
        record = read_record(self.partial)
        if record is None or record.outcome is not None:
            raise UploadGone
        self.record = record

    async def _is_completed_elsewhere(self) -> bool:
        """Return whether the bytes are gone because another process has completed the upload; then its job here has
        completed, too."""
        with suppress(UploadGone):
            await self.partial.refresh()
        record = read_record(self.partial)
        if record is None or record.outcome is None:
            return False
        self.record = record
        self.job.completed_elsewhere(record.outcome.name, record.outcome.size)
        return True

    async def discard(self) -> None:
        """Remove all that the upload has, because its job ends for good.

        Raises UploadLocked if another process has it, or if a byte came while it was taken for expired: then it goes
        on. Raises AlreadyFinished if another process has completed it: then its job has completed.
        """
        try:
            async with self._locked(on_requested=lambda: None):
                await self.partial.refresh()
                if isinstance(self.job.cause, Expired) and not self._has_expired(self):
                    raise UploadLocked
                await self.partial.discard()
        except UploadGone:
            if await self._is_completed_elsewhere():
                raise AlreadyFinished from None
            await self.partial.discard()
        except ServerError:  # it ends all the same
            await self.partial.discard()

    async def abandon(self, why: BaseException) -> None:
        """End the upload: its creation failed because of `why` before its client could know where it is."""
        with suppress(HeadgateError):  # it has ended already, or another server has it
            self.job.stop(Abandoned(why))
            await self.job.wait_ended()

    async def probe(self) -> int:
        """Bytes that it has, durably; a request that was adding to it has left. Raises what `attached` does."""
        async with self.attached():
            await self.partial.sync()
            return self.offset

    async def append(self, append: Append, sender: Sender, config: Config) -> None:
        """Add what `sender` brings, all of it or as much as comes.

        Raises OffsetMismatch, InconsistentLength, TooLarge, FinalUpload, what `attached`, the storage and reading
        raise, and what `sender.check` does. Whatever it raises, what has come is kept, unless its checksum was not
        right or is not known, or the upload has ended.
        """
        async with self.attached(ends=lambda error: append.strict and isinstance(error, TooLarge)) as job:
            start = self.offset
            if self.record.parts:
                raise FinalUpload
            if append.offset is not None and append.offset != start:
                raise OffsetMismatch(start, append.offset)
            length = append.agreed(start, sender.length, self.record.length)
            if (length or 0) > config.max_file_size:
                raise TooLarge(f"A file may have {readable(config.max_file_size)}.")
            limit = (config.max_file_size if length is None else length) - start
            if (sender.length or 0) > limit:
                raise TooLarge(f"The upload may have {readable(start + limit)}.")
            if length is not None:
                await self.partial.reserve(ExpectedSize(limit, limit))
            job.bytes_total = length
            if length != self.record.length:
                await self.update_record(length=length)
            async with self._chunk(is_checked=sender.checked):
                job.restart()
                body = sender.body(limit)
                with closing(body), sender.watch(job, body):
                    await sender.send_continue()
                    await write_body(self.partial, job, body, sender, start)
                await self.partial.sync()
            if append.last and length is not None and self.offset != length:
                raise InconsistentLength(f"The upload is to have {length} bytes; it has {self.offset}.")
            complete = self.whole if append.last is None else append.last
            job.all_received = complete and not self.record.partial

    @asynccontextmanager
    async def _chunk(self, *, is_checked: bool) -> AsyncIterator[None]:
        """A block whose bytes count, if they are to be checked, only when it is left without an error."""
        if not is_checked:
            yield
            return
        await self.partial.begin_chunk()
        self._has_unconfirmed_bytes = True
        try:
            yield
            await self.partial.confirm_chunk()
        finally:
            self._has_unconfirmed_bytes = False

    async def secured(self) -> int:
        """Bytes that are durable now, while a request adds to them. Raises StorageFailed."""
        size = self.offset
        await self.partial.sync()
        return size

    async def when_finished(self) -> None:
        """Wait until the task that publishes it has ended. Raises what that did."""
        if self.finishing is not None:
            await asyncio.shield(self.finishing)

    def finish(self, work: Callable[["Upload"], Awaitable[None]]) -> "asyncio.Task[None]":
        """Have `work` publish it, in a task of its own: a client that goes away then does not undo what it sent."""
        if self.finishing is None:

            async def run() -> None:
                try:
                    await work(self)
                finally:
                    self.finishing = None

            self.finishing = asyncio.create_task(run())
            self.finishing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self.finishing


def _release(job: ResumableJob) -> None:
    """Another request, perhaps on another node, wants the upload whose `job` this is."""
    with suppress(AlreadyFinished):
        job.stop(Superseded())
