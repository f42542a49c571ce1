"""Publishing a resumable upload: assembled if it was sent in parts, held against its digests, approved, and named.

Rules of this room:

- It runs in a task of its own, which holds the job as a request would; only terminate and a shutdown stop it.
- What the storage could not do may be tried again, and its bytes are kept. Whatever else stands against it ends it.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

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
from headgate.lowlevel.thread_pools import DIGESTS
from headgate.resumable.parts import Parts
from headgate.resumable.record import Outcome, Record
from headgate.resumable.upload import Upload
from headgate.storage import Entry, Published
from headgate.transfer.inbound.approval import OnReceived, ReceivedFile, approve_and_finish
from headgate.transfer.inbound.published_event import published_event
from headgate.units import readable
from headgate.wire.digest_fields import ALGORITHMS

__all__ = ["Publisher"]

#: Bytes that are read at once for a digest.
SLICE = 1024 * 1024


#: Characters of a protocol's own words that are still told of an upload that is over: its record stays for a while, and
#: no quota counts it.
LONGEST_WORDS = 1024


class Publisher:
    """Publishes uploads. `parts`: knows of those that are made of others."""

    def __init__(self, config: Config, on_received: OnReceived | None, parts: Parts, bus: EventBus) -> None:
        self._config = config
        self._on_received = on_received
        self._parts = parts
        self._bus = bus

    async def publish(self, upload: Upload) -> None:
        """Publish `upload`, whose bytes, or parts, are all there. Raises what stands against it."""
        async with upload.held(ends=_ends) as job:
            job.all_received = False
            record = upload.record
            job.restart()
            if record.parts:
                await self._assemble(upload)
            elif record.length not in (None, upload.offset):  # somebody has taken bytes away
                raise StorageFailed
            digests = await self._digests(upload)
            if any(digests[algorithm] != digest for algorithm, digest in record.digests.items()):
                raise DigestMismatch("The whole does not have the Repr-Digest that was sent with it.")
            await upload.kept.sync()
            job.bytes_total = upload.offset
            received = ReceivedFile(upload.name, upload.offset, digests)
            with self._claimed(upload):
                await approve_and_finish(job, [received], self._on_received)
            done: list[Record] = []

            def text(published: Published) -> str:
                outcome = Outcome.of(published, self._wanted(record, digests))
                words = record.words if len(record.words) <= LONGEST_WORDS else "{}"
                done.append(replace(record, outcome=outcome, checked=None, words=words))
                return done[0].text()

            published = await upload.kept.publish(upload.name, record.on_conflict, text)
            upload.record = done[0]
            job.names = (published.entry.name,)
            job.complete()
        self._bus.publish(published_event(published, job))
        if record.parts:
            await self._spend_parts(upload)

    @contextmanager
    def _claimed(self, upload: Upload) -> Iterator[None]:
        """The parts of `upload` are nobody else's any more, unless it is refused. Raises UploadGone if they were first
        another's: what is made of parts is bounded by what was sent."""
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
    def _wanted(record: Record, digests: dict[str, bytes]) -> dict[str, bytes]:
        return {} if record.wanted is None else {record.wanted: digests[record.wanted]}

    async def _digests(self, upload: Upload) -> dict[str, bytes]:
        """Those that are known or wanted. The file is read for them once more: it may have come in many pieces, and to
        other processes."""
        record = upload.record
        algorithms = {*record.digests, *([record.wanted] if record.wanted else [])}
        hashes = {algorithm: hashlib.new(ALGORITHMS[algorithm]) for algorithm in algorithms}
        offset = 0
        while hashes and (data := await upload.kept.read(offset, SLICE)):
            offset += len(data)
            for hash_ in hashes.values():
                await DIGESTS.run(partial(hash_.update, data))
        return {algorithm: hash_.digest() for algorithm, hash_ in hashes.items()}

    async def _assemble(self, upload: Upload) -> None:
        """Put the parts of `upload` one after the other."""
        kept = upload.kept
        parts = self._parts.of(upload)
        total = sum(part.offset for part in parts)
        if total > self._config.max_file_size:
            raise TooLarge(f"A file may have {readable(self._config.max_file_size)}.")
        await kept.cut(0)
        upload.job.set_done(0)
        upload.job.bytes_total = total
        await kept.reserve(total, total)
        for part in parts:
            await kept.append(part.kept)
            upload.job.advance(part.offset)

    async def _spend_parts(self, upload: Upload) -> None:
        """The parts of `upload` are its own now. It is published, whatever becomes of them."""
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
                await part.note(outcome=outcome)
            except HeadgateError:  # then nobody is told what has become of it
                await part.kept.discard()
            else:
                await part.kept.drop()

    @staticmethod
    def published(record: Record, entry: Entry) -> Record:
        """`record`, of what is published as `entry` already."""
        return replace(record, outcome=Outcome.of(Published(entry, replaced=False), {}))


def _ends(error: BaseException) -> bool:
    """Does `error` end the upload, or may it be tried again?"""
    return isinstance(error, HeadgateError) and not isinstance(error, ServerError | JobStopped | UploadLocked)
