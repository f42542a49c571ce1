"""The last step before an upload is published: the embedding service checks it, then no terminate stops it any more.

Every upload passes here, plain or resumable. While `on_received` runs, all bytes are there and nothing is visible: the
upload can still be refused or terminated. Then `Job.finish` passes the point of no return (G2), synchronously.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from headgate.errors import HeadgateError, Refused
from headgate.jobs import Job
from headgate.lowlevel.cancellation import is_cancelled
from headgate.storage import Published

__all__ = ["OnReceived", "ReceivedFile", "approve_and_finish"]

logger = logging.getLogger("headgate.transfer")


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file of an upload, all of whose bytes have been received."""

    #: Its name; before it is published the requested one, which OnConflict.RENAME may change.
    name: str
    #: Bytes.
    size: int
    #: The digest that the client asked for, by its algorithm.
    digests: Mapping[str, bytes] = field(default_factory=dict)
    #: What the file is, once it is published.
    published: Published | None = None


#: The check of the embedding service: awaited after the last byte and before anything is published. Raising refuses the
#: upload (422, its message).
OnReceived = Callable[[Job, Sequence[ReceivedFile]], Awaitable[object]]


async def approve_and_finish(job: Job, received: Sequence[ReceivedFile], on_received: OnReceived | None) -> None:
    """Await the embedding service's check of `received`, and pass the job's point of no return.

    When this returns, ``job.finish()`` has been called: the upload is to be published, and nothing stops it any more.
    Waits while the job is paused. If it raises or is cancelled, the job has not finished. Raises Refused, or any other
    HeadgateError of the service's.
    """
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
        # Any exception refuses the upload: one whose check failed must not be published.
        logger.warning("upload %s was refused by on_received: %r", job.id, error)
        raise Refused(str(error) or None) from error
