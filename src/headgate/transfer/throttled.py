"""A chunk that meets a gate which is not open: held, or cut into as small pieces as its rate asks."""

from collections.abc import Awaitable, Callable

from headgate.jobs import Job
from headgate.lowlevel.page_memory import Data

__all__ = ["through"]


async def through(job: Job, chunk: Data, move: Callable[[Data], Awaitable[None]]) -> None:
    """Have `move` take all of `chunk`, as the gate of `job` lets it pass, and count it."""
    offset = 0
    while offset < len(chunk):
        size = await job.gate.acquire(len(chunk) - offset)
        await move(chunk[offset : offset + size])
        job.advance(size)
        offset += size
