"""Writing a chunk of a job that is paused or has a rate limit.

The code that moves chunks compares one attribute of the gate for each, and writes at once while the gate is open. A
chunk that meets a gate which is not open is written here, in pieces of as many bytes as the gate grants.
"""

from collections.abc import Awaitable, Callable

from headgate.jobs import Job
from headgate.lowlevel.page_memory import Data

__all__ = ["write_throttled"]


async def write_throttled(job: Job, chunk: Data, write: Callable[[Data], Awaitable[None]]) -> None:
    """Write all of `chunk` with `write`, as fast as the gate of `job` allows, and count the bytes.

    If cancelled, the pieces that were counted have been written, and the next may have been. Raises what `write` does.
    """
    offset = 0
    while offset < len(chunk):
        size = await job.gate.acquire(len(chunk) - offset)
        await write(chunk[offset : offset + size])
        job.advance(size)
        offset += size
