"""How the bytes of a request get into a partial file, and what is kept of them when that is stopped.

The loop reads and writes one chunk after the other. When it is stopped (the client has gone, a newer request has come,
the server drains), it still writes what has arrived; after a newer request of the same client also what arrives within
a moment on the older connection.

Rules of this file:

- Bytes that came with a checksum are dropped unless it was right, and so is a body that was larger than it may be.
- What is written for a stopped request is charged to the rates, not held back by them.
"""

import asyncio
from contextlib import suppress

from headgate.errors import Disconnected, HeadgateError, Superseded, TooLarge
from headgate.jobs import ResumableJob
from headgate.lowlevel.cancellation import uninterrupted
from headgate.lowlevel.page_memory import Data
from headgate.resumable.append import Sender
from headgate.storage import PartialFile
from headgate.transfer.inbound.body import Body
from headgate.transfer.throttled_write import write_throttled

__all__ = ["write_body"]

#: Seconds without a byte after which all that had arrived of an older request counts as read...
QUIET_SECONDS = 0.02
#: ...and seconds that the server reads on from it at most.
READ_ON_SECONDS = 1.0

_NOTHING: Data = b""


async def write_body(partial: PartialFile, job: ResumableJob, body: Body, sender: Sender, start: int) -> None:
    """Write the bytes of `body` to `partial`, which has `start` bytes. The hot path.

    Raises what reading and the storage raise, and what `sender.check` does. If it is stopped, what has arrived is kept.
    """
    gate, read, write, advance = job.gate, body.read, partial.write, job.advance
    before, data = start, _NOTHING
    body.buffer.begin_file(start)
    try:
        while data := await read():
            if gate.open:
                await write(data)
                advance(len(data))
            else:
                await write_throttled(job, data, write)
            before, data = partial.size or 0, _NOTHING
        sender.check()
    except BaseException as error:
        if not job.is_ending:
            await uninterrupted(_keep(partial, job, body, sender, before, data, error))
        raise


async def _keep(
    partial: PartialFile,
    job: ResumableJob,
    body: Body,
    sender: Sender,
    before: int,
    data: Data,
    error: BaseException,
) -> None:
    """Keep what has arrived, after `error` stopped the loop while `data` was being written behind the first `before`
    bytes."""
    await partial.wait_for_writes()
    if sender.checked or isinstance(error, TooLarge):
        await partial.roll_back()
        return
    written = (partial.size or 0) - before
    if written < 0:  # what came before `data` could not be written
        return
    rest = bytes(data[written:])
    with suppress(HeadgateError):  # it may be what stopped the loop
        rest += body.drain_buffered()
        await partial.write(rest)
        job.gate.charge(len(rest))
        if isinstance(job.cause, Superseded) and job.gate.open:
            # The client has come back on another connection: what it sent on this one may have arrived in part.
            with suppress(TimeoutError, Disconnected):
                async with asyncio.timeout(READ_ON_SECONDS):
                    while data := await _read_soon(body):
                        await partial.write(data)
                        job.gate.charge(len(data))


async def _read_soon(body: Body) -> Data:
    """What has arrived, or arrives within a moment. Raises TimeoutError."""
    async with asyncio.timeout(QUIET_SECONDS):
        return await body.read()
