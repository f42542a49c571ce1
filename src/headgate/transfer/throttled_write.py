"""Writing a chunk while its job's gate is not open: the job is paused, or may move only so many bytes per second.

An open gate costs a chunk one comparison, which is where the chunk is moved. Only one that meets a gate which is not
open comes here, and goes on in as small pieces as the gate grants.
"""

from collections.abc import Awaitable, Callable

from headgate.jobs import Job
from headgate.lowlevel.page_memory import Data

__all__ = ["write_throttled"]


async def write_throttled(job: Job, chunk: Data, write: Callable[[Data], Awaitable[None]]) -> None:
    """Have `write` take all of `chunk`, as fast as the gate of `job` lets it, and count what it has taken.

    If cancelled, the pieces that were counted have been written, and the next may have been. Raises what `write` does.
    """
    offset = 0
    while offset < len(chunk):
        size = await job.gate.acquire(len(chunk) - offset)
        await write(chunk[offset : offset + size])
        job.advance(size)
        offset += size
