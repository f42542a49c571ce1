"""Landing the files of an upload: staged as they come, made durable, shown to the embedding service, and published.

Knows no HTTP: whoever took the body apart hands in its files.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headgate.config import Config, OnConflict
from headgate.errors import HeadgateError, InvalidOption, NameTaken, NoFiles, Refused, TooLarge
from headgate.jobs import Job
from headgate.lowlevel.cancellation import is_cancelled
from headgate.lowlevel.page_memory import Data
from headgate.names import check_name
from headgate.storage import Expect, Published, Stage, expect_anything
from headgate.transfer.throttled import through
from headgate.units import readable

__all__ = ["Incoming", "OnReceived", "ReceivedFile", "approve", "receive"]

logger = logging.getLogger("headgate.transfer")


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file of an upload: the name it is meant to have (or has, once published), its bytes, and what was asked of its
    digests, by algorithm."""

    name: str
    size: int
    digests: Mapping[str, bytes] = field(default_factory=dict)
    #: What it is now, once it is published.
    published: Published | None = None


#: Awaited after the last byte and before anything is published. Raising refuses the upload (422, its message).
OnReceived = Callable[[Job, Sequence[ReceivedFile]], Awaitable[object]]


class Incoming(Protocol):
    """One file on its way in."""

    @property
    def filename(self) -> str: ...

    @property
    def read(self) -> Callable[[], Awaitable[Data]]:
        """The next bytes, as many as came; none at the end. The memory of a memoryview is used again by the second
        read from then on."""

    @property
    def digests(self) -> Mapping[str, bytes]:
        """The digests of the bytes that were asked for, when all have been read."""


async def receive(
    job: Job,
    files: AsyncIterator[Incoming],
    stage: Stage,
    *,
    config: Config,
    on_conflict: Callable[[], OnConflict],
    reserved: frozenset[str],
    expected: Callable[[], tuple[int, int] | None],
    on_received: OnReceived | None,
    expect: Expect = expect_anything,
) -> list[ReceivedFile]:
    """Receive `files` into `stage` and publish them all, or none. Returns them under the names they were given.

    `on_conflict` is asked when the first file begins, and must not have changed its mind at the end; `reserved` names
    are always taken; `expected` tells how many bytes of files are still to come, at least and at most, or None;
    `expect` looks at what is replaced.

    Raises InvalidName, InvalidOption, NameTaken, PreconditionFailed, TooLarge, NoFiles, Refused, what the stage raises
    and what reading raises. Past ``job.finish()`` nothing can stop it any more.
    """
    received: list[ReceivedFile] = []
    rule: OnConflict | None = None
    async for file in files:
        rule = rule or on_conflict()
        name = check_name(file.filename)
        job.names += (name,)
        if name in reserved:
            raise NameTaken(f"{name!r} is the name of a generated export.")
        staged = await stage.create(name, rule)
        rest = expected()
        if rest is not None:
            await stage.reserve(*rest)
            job.bytes_total = job.bytes_done + rest[1]
        limit = min(config.max_file_size, config.upload_size_limit - job.bytes_done)
        read, write, advance, gate = file.read, staged.write, job.advance, job.gate
        while chunk := await read():
            if staged.size + len(chunk) > limit:
                raise TooLarge(_too_large(config, limit))
            if gate.open:
                await write(chunk)
                advance(len(chunk))
            else:
                await through(job, chunk, write)
            chunk = b""  # or the wait for the next would keep its memory
        await staged.flush()
        received.append(ReceivedFile(name, staged.size, file.digests))
    if rule is None:
        raise NoFiles
    if on_conflict() is not rule:  # files were begun under another: what may be replaced is not decided afterwards
        raise InvalidOption("on_conflict must come before the files.")
    job.bytes_total = job.bytes_done
    if on_received is not None or not stage.held:  # it looks at what is durable; and syncing much can be stopped
        await stage.sync()
    await approve(job, received, on_received)
    published = await stage.publish(rule, expect)
    job.names = tuple(each.entry.name for each in published)
    job.complete()
    return [
        ReceivedFile(each.entry.name, file.size, file.digests, each)
        for file, each in zip(received, published, strict=True)
    ]


def _too_large(config: Config, limit: int) -> str:
    if limit < config.max_file_size:
        return f"The files of an upload may have {readable(config.upload_size_limit)} together."
    return f"A file may have {readable(config.max_file_size)}."


async def approve(job: Job, received: Sequence[ReceivedFile], on_received: OnReceived | None) -> None:
    """Every byte is there: have the embedding service look at it, and pass the point of no return. Raises Refused."""
    if on_received is not None:
        await _ask(on_received, job, received)
    await job.gate.opened()
    job.finish()


async def _ask(on_received: OnReceived, job: Job, received: Sequence[ReceivedFile]) -> None:
    try:
        await on_received(job, tuple(received))
    except HeadgateError:
        raise
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise
        # Any exception refuses: an upload must not be published because the code that should have checked it broke.
        logger.warning("upload %s was refused by on_received: %r", job.id, error)
        raise Refused(str(error) or None) from error
