"""One resumable upload: its job, its bytes, its record; how bytes are added to it.

Rules of this room:

- The bytes that are kept are the offset. What a request brought counts when it is in the file, and what it brought to a
  checksum only when that was right.
- A request that adds bytes attaches to the job (`Lease.attach`). When it is stopped, it keeps what has arrived, and
  leaves.
- What ends an upload removes its bytes before the job is over (G1).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import replace

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
    TooLarge,
    UploadGone,
    UploadLocked,
)
from headgate.jobs import Job, JobInfo, Lease, ResumableJob
from headgate.resumable.append import Append, Sender
from headgate.resumable.receiving import take_body
from headgate.resumable.record import Record
from headgate.storage import PartialFile
from headgate.units import readable

__all__ = ["Upload"]


class Upload:
    """A resumable upload: one that has a `lease` on its job, or one that was over before this process knew of it, of
    whose job there is only an `info`."""

    def __init__(
        self,
        kept: PartialFile,
        record: Record,
        *,
        lease: Lease | None = None,
        info: JobInfo | None = None,
        has_expired: "Callable[[Upload], bool]" = lambda _: False,
    ) -> None:
        self.kept = kept
        self.record = record
        self._lease = lease
        self._info = info
        self._has_expired = has_expired
        if lease is not None:
            lease.discard = self.discard
        #: The upload that it, a part, is being published as a part of: only one may be.
        self.claimed_by: Job | None = None
        #: Whoever publishes it, while that goes on.
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
        if self._info is not None:
            return self._info
        return self.job.info()

    def has_expired(self) -> bool:
        """Has nothing come for so long that it may go?"""
        return self._has_expired(self)

    @property
    def name(self) -> str:
        """What it is to be called."""
        return self.record.name or self.info().id_text

    @property
    def offset(self) -> int:
        """Bytes that it has, or had when it was published."""
        if self.record.outcome is not None:
            return self.record.outcome.size
        return self.kept.size or 0

    @property
    def whole(self) -> bool:
        """Is every byte there, and held against its checksum? Only where the length is known."""
        record = self.record
        return not record.parts and record.checked is None and record.length == self.offset

    async def note(self, *, durably: bool = True, **changes: object) -> None:
        """Write down what has changed of the record."""
        record = replace(self.record, **changes)  # type: ignore[arg-type]  # by name, as the record has them
        await self.kept.note(record.text(), durably=durably)
        self.record = record

    @asynccontextmanager
    async def held(self, *, ends: Callable[[BaseException], bool] = lambda _: False) -> AsyncIterator[ResumableJob]:
        """The job and the open file, held by the current task; whoever had them has left.

        On exit they are kept, unless the job was stopped for good or the error is one that `ends` it. Raises UploadGone
        if the bytes are, UploadLocked, and what `Lease.attach` does.
        """
        attachment = self.lease.attach()
        async with attachment as job:
            try:
                async with AsyncExitStack() as stack:
                    try:
                        await stack.enter_async_context(self.kept)
                        await self._look_again()
                    except UploadGone:
                        if self._is_over_elsewhere():
                            raise AlreadyFinished from None
                        attachment.gives_up = True
                        raise
                    try:
                        yield job
                    except BaseException as error:
                        attachment.gives_up = ends(error)
                        raise
            finally:  # it is closed, so what it has is known
                if self.kept.size is not None:
                    job.set_done(self.kept.size)

    async def _look_again(self) -> None:
        """It is open: go on from what there is, whoever had it before. Raises UploadGone if it is over."""
        record = Record.read(self.kept.record)
        if record is None or record.outcome is not None:
            raise UploadGone
        self.record = record
        if record.checked is not None:  # a process was killed before it knew
            await self.kept.cut(min(self.kept.size or 0, record.checked))
            await self.note(checked=None, durably=False)

    def _is_over_elsewhere(self) -> bool:
        """Its bytes are not there any more: because another process completed it? Then its job has completed, too."""
        record = Record.read(self.kept.record)
        if record is None or record.outcome is None:
            return False
        self.record = record
        self.job.completed_elsewhere(record.outcome.name, record.outcome.size)
        return True

    async def discard(self) -> None:
        """Remove all that it has, because its job ends for good. Raises UploadLocked if another process has it, or if
        it is not as old as whoever let it expire believed: then it goes on; AlreadyFinished if another process has
        completed it: then its job has.
        """
        try:
            async with self.kept:
                if isinstance(self.job.cause, Expired) and not self.has_expired():
                    raise UploadLocked
                await self.kept.discard()
        except UploadGone:
            if self._is_over_elsewhere():
                raise AlreadyFinished from None
            await self.kept.discard()
        except ServerError:  # it ends all the same
            await self.kept.discard()

    async def abandon(self, why: BaseException) -> None:
        """End the upload: its creation failed because of `why` before its client could know where it is."""
        with suppress(HeadgateError):  # it has ended already, or another server has it
            self.job.stop(Abandoned(why))
            await self.job.wait_ended()

    async def probe(self) -> int:
        """Bytes that it has, durably: whoever was adding to it has left. Raises what `held` does."""
        async with self.held():
            await self.kept.sync()
            return self.offset

    async def append(self, append: Append, sender: Sender, config: Config) -> None:
        """Add what `sender` brings, all of it or as much as comes.

        Raises OffsetMismatch, InconsistentLength, TooLarge, FinalUpload, what `held`, the storage and reading raise,
        and what `sender.check` does. Whatever it raises, what has come is kept, unless it could not be held against its
        checksum, or ended the upload.
        """
        async with self.held(ends=lambda error: append.strict and isinstance(error, TooLarge)) as job:
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
                await self.kept.reserve(limit, limit)
            job.bytes_total = length
            if length != self.record.length:
                await self.note(length=length)
            if sender.checked:
                await self.note(checked=start, durably=False)
            job.restart()
            body = sender.body(limit)
            with closing(body), sender.watch(job, body):
                await sender.send_continue()
                await take_body(self, job, body, sender, start)
            await self.kept.sync()
            if sender.checked:
                await self.note(checked=None, durably=False)
            if append.last and length is not None and self.offset != length:
                raise InconsistentLength(f"The upload is to have {length} bytes; it has {self.offset}.")
            complete = self.whole if append.last is None else append.last
            job.all_received = complete and not self.record.partial

    async def secured(self) -> int:
        """Bytes that are durable now, while somebody adds to them."""
        size = self.offset
        await self.kept.sync()
        return size

    async def when_finished(self) -> None:
        """Wait until whoever publishes it has done so, or not. Raises what stood against it."""
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
