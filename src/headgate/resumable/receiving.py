"""How the bytes of a request get into a resumable upload, and what is kept of them when that is stopped.

The loop reads and writes one chunk after the other. When it is stopped (the client has gone, a newer request has come,
the server drains), it still writes what has arrived; after a newer request of the same client also what arrives within
a moment on the older connection.

Rules of this room:

- Bytes that are to be held against a checksum count only when it was right: otherwise all of this request's are
  dropped.
- What is written for a stopped request is charged to the rates, not held back by them.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from headgate.errors import Disconnected, HeadgateError, Superseded, TooLarge
from headgate.jobs import Job
from headgate.lowlevel.cancellation import uninterrupted
from headgate.lowlevel.page_memory import Data
from headgate.resumable.append import Sender
from headgate.transfer.inbound.body import Body
from headgate.transfer.throttled import write_throttled

if TYPE_CHECKING:
    from headgate.resumable.upload import Upload

__all__ = ["take_body"]

#: Seconds without a byte after which an older request has nothing more that has arrived...
QUIET_SECONDS = 0.02
#: ...and seconds that the server reads on from it at most.
READ_ON_SECONDS = 1.0

_NOTHING: Data = b""


async def take_body(upload: "Upload", job: Job, body: Body, sender: Sender, start: int) -> None:
    """Write the bytes of `body` to `upload`, after the first `start`. The hot path.

    Raises what reading and the storage raise, and what `sender.check` does. If it is stopped, what has arrived is kept.
    """
    kept, gate, read, write, advance = upload.kept, job.gate, body.read, upload.kept.write, job.advance
    before, data = start, _NOTHING
    body.buffer.begin_file(start)
    try:
        while data := await read():
            if gate.open:
                await write(data)
                advance(len(data))
            else:
                await write_throttled(job, data, write)
            before, data = kept.size or 0, _NOTHING
        sender.check()
    except BaseException as error:
        if not (job.cause is not None and job.cause.final):
            await uninterrupted(_keep(upload, job, body, sender, start, before, data, error))
        raise


async def _keep(
    upload: "Upload", job: Job, body: Body, sender: Sender, start: int, before: int, data: Data, error: BaseException
) -> None:
    """`error` stopped adding, while `data` was written after the first `before` bytes: keep what is here."""
    kept = upload.kept
    if sender.checked or isinstance(error, TooLarge):
        await kept.settle()
        await kept.cut(start)
        await upload.note(checked=None, durably=False)
        return
    await kept.settle()
    done = (kept.size or 0) - before
    if done < 0:  # what came before it could not be written
        return
    rest = bytes(data[done:])
    with suppress(HeadgateError):  # it may be why adding was stopped
        rest += body.drain_buffered()
        await kept.write(rest)
        job.gate.charge(len(rest))
        if isinstance(job.cause, Superseded) and job.gate.open:
            # Its client has come back on another connection: what it sent on this one may be here in part.
            with suppress(TimeoutError, Disconnected):
                async with asyncio.timeout(READ_ON_SECONDS):
                    while data := await _soon(body):
                        await kept.write(data)
                        job.gate.charge(len(data))


async def _soon(body: Body) -> Data:
    """What is here already, or comes at once. Raises TimeoutError."""
    async with asyncio.timeout(QUIET_SECONDS):
        return await body.read()
