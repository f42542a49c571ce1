"""Publishing a resumable upload: assembled if it was sent in parts, compared with its digests, approved, and named.

Rules of this file:

- Publishing runs in a task of its own, which attaches to the job as a request would; only a terminate and a shutdown
  stop it.
- Where the storage fails, the bytes are kept, and publishing may be tried again. Any other error ends the upload.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

from headgate.config import Config
from headgate.errors import (
    DigestMismatch,
    HeadgateError,
    JobStopped,
    ServerError,
    StorageFailed,
    TooLarge,
    UploadGone,
    UploadLocked,
)
from headgate.events import EventBus
from headgate.jobs import State
from headgate.lowlevel.readable_size import readable
from headgate.resumable.parts import Parts
from headgate.resumable.record import Outcome
from headgate.resumable.upload import Upload
from headgate.storage import ExpectedSize
from headgate.transfer.inbound.approval import OnReceived, ReceivedFile, approve_and_finish
from headgate.transfer.inbound.published_event import published_event
from headgate.wire.digest_fields import ALGORITHMS

__all__ = ["Publisher"]

#: Characters of the protocol's headers that are kept of an upload that is over: its record stays for a while, and no
#: quota counts it.
MAX_KEPT_HEADER_CHARACTERS = 1024


class Publisher:
    """Publishes uploads. `parts` knows which are made of others; published files are told of on `bus`."""

    def __init__(self, config: Config, on_received: OnReceived | None, parts: Parts, bus: EventBus) -> None:
        self._config = config
        self._on_received = on_received
        self._parts = parts
        self._bus = bus

    async def publish(self, upload: Upload) -> None:
        """Publish `upload`, whose bytes, or parts, are all there. Raises what stands against it."""
        async with upload.attached(ends=_ends) as job:
            job.all_received = False
            record = upload.record
            job.restart()
            if record.parts:
                await self._assemble(upload)
            elif record.length not in (None, upload.offset):  # bytes were taken away by hand
                raise StorageFailed
            digests = await self._digests(upload)
            if any(digests[algorithm] != digest for algorithm, digest in record.digests.items()):
                raise DigestMismatch("The whole does not have the Repr-Digest that was sent with it.")
            await upload.partial.sync()
            job.bytes_total = upload.offset
            received = ReceivedFile(upload.name, upload.offset, digests)
            with self._claimed(upload):
                await approve_and_finish(job, [received], self._on_received)
            wanted = {algorithm: digests[algorithm] for algorithm in digests if algorithm == record.wanted_digest}
            record = replace(record, result_digests=wanted)
            if len(record.protocol_headers) > MAX_KEPT_HEADER_CHARACTERS:
                record = replace(record, protocol_headers="{}")
            published = await upload.partial.publish(upload.name, record.on_conflict, record.dump())
            outcome = Outcome.of(published, record.result_digests, datetime.now(UTC))
            upload.record = replace(record, outcome=outcome)
            job.names = (published.entry.name,)
            job.complete()
        self._bus.publish(published_event(published, job))
        if record.parts:
            await self._spend_parts(upload)

    @contextmanager
    def _claimed(self, upload: Upload) -> Iterator[None]:
        """Claim the parts of `upload`, for good unless the block raises. Raises UploadGone if another upload has
        claimed one: what is made of parts is bounded by what was sent."""
        parts = self._parts.of(upload)
        if any(part.claimed_by not in (None, upload.job) for part in parts):
            raise UploadGone("A part was made a part of another upload already.")
        for part in parts:
            part.claimed_by = upload.job
        try:
            yield
        except BaseException:
            for part in parts:
                part.claimed_by = None
            raise

    @staticmethod
    async def _digests(upload: Upload) -> dict[str, bytes]:
        """Those that the whole must have, or that were asked for."""
        record = upload.record
        algorithms = {*record.digests, *([record.wanted_digest] if record.wanted_digest else [])}
        found = await upload.partial.digests({ALGORITHMS[algorithm] for algorithm in algorithms})
        return {algorithm: found[ALGORITHMS[algorithm]] for algorithm in algorithms}

    async def _assemble(self, upload: Upload) -> None:
        """Put the parts of `upload` one after the other."""
        partial = upload.partial
        parts = self._parts.of(upload)
        total = sum(part.offset for part in parts)
        if total > self._config.max_file_size:
            raise TooLarge(f"A file may have {readable(self._config.max_file_size)}.")
        await partial.clear()
        upload.job.set_done(0)
        upload.job.bytes_total = total
        await partial.reserve(ExpectedSize(total, total))
        for part in parts:
            await partial.append(part.partial)
            upload.job.advance(part.offset)

    async def _spend_parts(self, upload: Upload) -> None:
        """Remove the parts of `upload`, which is published, whatever comes of that."""
        for part in dict.fromkeys(self._parts.still_there(upload)):
            with suppress(HeadgateError):
                await self._spend(part, upload)

    @staticmethod
    async def _spend(part: Upload, whole: Upload) -> None:
        async with part.lease.attach() as job:
            if job.state is State.PAUSED:
                job.resume()
            job.restart()
            job.finish()
            outcome = Outcome(name=part.name, size=part.offset, part_of=whole.job.id, ended_at=datetime.now(UTC))
            try:
                await part.update_record(outcome=outcome)
            except HeadgateError:  # then no client is told what has become of it
                await part.partial.discard()
            else:
                await part.partial.delete_bytes()


def _ends(error: BaseException) -> bool:
    """Return whether `error` ends the upload; otherwise publishing may be tried again."""
    return isinstance(error, HeadgateError) and not isinstance(error, ServerError | JobStopped | UploadLocked)
