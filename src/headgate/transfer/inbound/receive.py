"""Receiving the files of an upload: written to a stage, made durable, approved, and published, all or none.

It knows no HTTP: a `BodySource` yields the files, a `Stage` stores them, `UploadRules` limit them.

Rules of this file:

- A chunk costs one comparison, one read and one write; what is done once for each file may cost more.
- Until `approve_and_finish` has returned nothing is published, and leaving the stage discards everything.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from headgate.config import Config, OnConflict
from headgate.errors import InvalidOption, NameTaken, NoFiles, TooLarge
from headgate.jobs import Job
from headgate.lowlevel.readable_size import readable
from headgate.names import check_name
from headgate.storage import NO_PRECONDITION, Precondition, Stage
from headgate.transfer.inbound.approval import OnReceived, ReceivedFile, approve_and_finish
from headgate.transfer.inbound.incoming import BodySource
from headgate.transfer.throttled_write import write_throttled

__all__ = ["UploadRules", "receive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRules:
    """The limits of the files of an upload, and how they are published."""

    #: The most bytes of one file, and of all files of the upload together.
    max_file_size: int
    max_upload_size: int
    #: What happens if a name is taken, unless the body says otherwise.
    on_conflict: OnConflict
    #: Names that no file may have.
    reserved: frozenset[str] = frozenset()
    #: The embedding service's check.
    on_received: OnReceived | None = None
    #: The condition on a file that is replaced.
    precondition: Precondition = NO_PRECONDITION

    @classmethod
    def of(cls, config: Config, *, reserved: frozenset[str], on_received: OnReceived | None) -> "UploadRules":
        """The rules that `config` sets."""
        return cls(
            max_file_size=config.max_file_size,
            max_upload_size=config.upload_size_limit,
            on_conflict=config.on_conflict,
            reserved=reserved,
            on_received=on_received,
        )


async def receive(job: Job, source: BodySource, stage: Stage, rules: UploadRules) -> Sequence[ReceivedFile]:
    """Receive the files of `source` into `stage` and publish them all, or none.

    Returns them under the names they were given; the job is completed then. If cancelled before the job's point of no
    return, nothing is published. Raises InvalidName, InvalidOption, NameTaken, PreconditionFailed, TooLarge, NoFiles,
    Refused, what the stage raises and what reading raises.
    """
    received: list[ReceivedFile] = []
    on_conflict: OnConflict | None = None
    async with contextlib.aclosing(source.files()) as files:
        async for file in files:
            # Read when the first file begins: fields of a form may come before it.
            on_conflict = on_conflict or source.on_conflict or rules.on_conflict
            name = check_name(file.filename)
            job.names += (name,)
            if name in rules.reserved:
                raise NameTaken(f"{name!r} is the name of a generated export.")
            staged = await stage.create(name, on_conflict)
            expected = source.expected
            if expected is not None:
                await stage.reserve(expected)
                job.bytes_total = job.bytes_done + expected.most
            limit = min(rules.max_file_size, rules.max_upload_size - job.bytes_done)
            read, write, advance, gate = file.read, staged.write, job.advance, job.gate
            while chunk := await read():
                if staged.size + len(chunk) > limit:
                    raise TooLarge(_too_large(rules, limit))
                if gate.open:
                    await write(chunk)
                    advance(len(chunk))
                else:
                    await write_throttled(job, chunk, write)
                chunk = b""  # else its memory would be kept while the next one is awaited
            await staged.flush()
            received.append(ReceivedFile(name, staged.size, file.digests))
    if on_conflict is None:
        raise NoFiles
    if (
        source.on_conflict or rules.on_conflict
    ) is not on_conflict:  # it came after a file, for which another rule was used
        raise InvalidOption("on_conflict must come before the files.")
    job.bytes_total = job.bytes_done
    await stage.sync(required=rules.on_received is not None)  # on_received is called with durable files
    await approve_and_finish(job, received, rules.on_received)
    published = await stage.publish(on_conflict, rules.precondition)
    job.names = tuple(each.entry.name for each in published)
    job.complete()
    return [
        ReceivedFile(each.entry.name, file.size, file.digests, each)
        for file, each in zip(received, published, strict=True)
    ]


def _too_large(rules: UploadRules, limit: int) -> str:
    if limit < rules.max_file_size:
        return f"The files of an upload may have {readable(rules.max_upload_size)} together."
    return f"A file may have {readable(rules.max_file_size)}."
