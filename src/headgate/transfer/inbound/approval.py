"""The last step before an upload is published: the embedding service looks at it, and the job cannot be stopped any
more.

Every upload passes here, in one request or resumable: first with all its bytes there and nothing visible, where it can
still be refused or terminated; then past its point of no return (G2), which `Job.finish` decides synchronously.
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

    #: The name that it is meant to have, or, once it is published, has.
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
    """Have the embedding service approve of `received`, and pass the job's point of no return.

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
        # Any exception refuses: an upload must not be published because the code that should have checked it broke.
        logger.warning("upload %s was refused by on_received: %r", job.id, error)
        raise Refused(str(error) or None) from error
