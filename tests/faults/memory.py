"""What a slow upload costs while it waits: many of them, held half-way, and the memory of the server's process."""

import os
import resource
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from faults.apart import apart
from faults.clients import connected, upload_head
from support import PATIENCE, eventually, part


@dataclass
class MemoryResult:
    """Bytes of the server's process before the uploads and while all of them are held."""

    uploads: int
    before: int
    held: int

    @property
    def each(self) -> float:
        return (self.held - self.before) / self.uploads


async def slow_uploads(root: Path, *, count: int, warm_up: int = 100) -> MemoryResult:
    """Hold `count` uploads that have each sent the beginning of a file."""
    raise_descriptor_limit()
    config = {"max_jobs": 2 * count, "max_jobs_per_owner": 2 * count, "idle_timeout": 600.0, "min_rate": 0}
    async with apart(root, **config) as server:
        # What is allocated once, and what the allocator keeps, is not a cost of each.
        async with AsyncExitStack() as stack:
            await hold_uploads(stack, server.port, root, warm_up)
        await eventually(lambda: not os.listdir(root / ".staging"), "the end of the first uploads")
        before = await server.memory()
        async with AsyncExitStack() as stack:
            await hold_uploads(stack, server.port, root, count)
            held = await server.memory()
    return MemoryResult(count, before, held)


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def hold_uploads(stack: AsyncExitStack, port: int, root: Path, count: int) -> None:
    """Begin `count` uploads that stay until `stack` is left, of files that are staged."""
    for number in range(count):
        client = await stack.enter_async_context(connected(port))
        body = part(f"slow {number}", b"some bytes of it")[:-2]
        # Above what is kept in memory, and so little that ten thousand find room on the disk.
        await client.send(upload_head(Content_Length=3_000_000) + body)
    await eventually(lambda: len(os.listdir(root / ".staging")) == count, "the uploads", 3 * PATIENCE)
