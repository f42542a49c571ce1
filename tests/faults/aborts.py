"""Thousands of transfers that do not complete, of every kind, and what is left of them: nothing.

`many_aborts` runs them against a server in this process, so that descriptors, tasks, staged bytes and quota can be
counted before and after. Beside the clients of `faults.clients` there are transfers that are terminated, that exceed a
limit, and that the embedding service refuses.
"""

import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from faults.clients import ABORTS, EXPORT, a_form, abort, named
from faults.log import faults_logged
from support import FORM, Server, eventually, part, serving

#: Bytes of the stored export: more than buffers take.
EXPORT_SIZE = 8_000_000

#: Bytes of the largest upload that is taken; `too_large` sends more.
LIMIT = 1_000_000


async def terminated_upload(server: Server, dice: random.Random) -> None:
    job = named(dice)
    body = a_form(dice)

    async def pieces() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        await asyncio.sleep(dice.random() * 0.01)
        yield body[len(body) // 2 :]

    await _terminated(
        server, dice, job.id, server.client.post(f"{server.url}/upload", data=pieces(), headers=FORM | job.headers)
    )


async def terminated_export(server: Server, dice: random.Random) -> None:
    job = named(dice)
    asked = {"filename": dice.choice((EXPORT, "generated"))}
    await _terminated(server, dice, job.id, server.client.post(f"{server.url}/export", json=asked, headers=job.headers))


async def _terminated(server: Server, dice: random.Random, id_: object, request: object) -> None:
    async def transfer() -> None:
        with suppress(aiohttp.ClientError):
            async with request as response:
                await response.read()

    task = asyncio.create_task(transfer())
    await asyncio.sleep(dice.random() * 0.02)
    async with server.client.delete(f"{server.url}/jobs/{id_}") as response:
        assert response.status in (200, 404, 409), response.status
    await task if dice.random() < 0.5 else task.cancel()


async def too_large(server: Server, dice: random.Random) -> None:
    size = LIMIT + 1 + dice.randrange(1_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        yield part("too large", b"")[:-2]
        for _ in range(0, size, 100_000):
            yield b"x" * 100_000

    with suppress(aiohttp.ClientError):
        async with server.client.post(f"{server.url}/upload", data=pieces(), headers=FORM) as response:
            assert response.status == 413, response.status


async def refused(server: Server, dice: random.Random) -> None:
    async with await server.upload("refuse me", dice.randbytes(1000)) as response:
        assert response.status == 422, response.status


async def taken(server: Server, dice: random.Random) -> None:
    async with await server.upload(EXPORT, dice.randbytes(100_000)) as response:
        assert response.status == 409, response.status


OURS = {each.__name__: each for each in (terminated_upload, terminated_export, too_large, refused, taken)}

KINDS = (*ABORTS, *OURS)


@dataclass
class AbortResult:
    """How many of which kind, and what there is more of afterwards than before."""

    aborts: Counter[str] = field(default_factory=Counter)
    descriptors: int = 0
    tasks: int = 0
    staged: int = 0
    quota: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Baseline:
    descriptors: int
    tasks: int

    @classmethod
    def now(cls) -> "_Baseline":
        gc.collect()
        return cls(len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()))

    def is_within(self, other: "_Baseline") -> bool:
        return self.descriptors <= other.descriptors and self.tasks <= other.tasks


async def many_aborts(
    root: Path, *, count: int, seed: int = 1, at_once: int = 20, handler_cancellation: bool = False
) -> AbortResult:
    """Run `count` aborts, of all kinds in turn, `at_once` of them at a time, and count what is left."""
    result = AbortResult()

    async def rows() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    async def on_received(job: object, files: list[object]) -> None:
        if files[0].name == "refuse me":
            raise ValueError("no")

    config = {"max_file_size": LIMIT, "quota": 10**12, "quota_per_owner": 10**12, "watch_interval": 0.05}
    config |= {"linger_timeout": 0.2, "idle_timeout": 1.0, "max_jobs_per_owner": 10_000}
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            serving(
                root,
                handler_cancellation=handler_cancellation,
                config=config,
                exports={"generated": rows},
                on_received=on_received,
            )
        )
        (root / EXPORT).write_bytes(b"x" * EXPORT_SIZE)
        await server.storage.tidy()
        # No connection outlives its request: what is open afterwards is the server's.
        server.client = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        )
        await _some(server, iter(range(2 * len(KINDS))), seed - 1, AbortResult())  # threads, caches
        await _settled(server)
        before = _Baseline.now()
        with faults_logged(result.failures):
            numbers = iter(range(count))
            await asyncio.gather(*(_some(server, numbers, seed, result) for _ in range(at_once)))
            await _settled(server)
        with suppress(AssertionError):  # then the figures tell
            await eventually(lambda: _Baseline.now().is_within(before), "the baseline")
        after = _Baseline.now()
        result.descriptors = max(0, after.descriptors - before.descriptors)
        result.tasks = max(0, after.tasks - before.tasks)
        result.staged = len(server.staged())
        published = sum(len(data) for data in server.published().values())
        result.quota = server.storage.ledger.total - published
    return result


async def _some(server: Server, numbers: object, seed: int, result: AbortResult) -> None:
    for number in numbers:
        kind = KINDS[number % len(KINDS)]
        dice = random.Random(f"{seed} {number}")
        result.aborts[kind] += 1
        try:
            async with asyncio.timeout(20):
                await (OURS[kind](server, dice) if kind in OURS else abort(server.port, kind, dice))
        except (TimeoutError, AssertionError) as error:
            result.failures.append(f"{kind} (seed {seed}, number {number}): {error!r}")


async def _settled(server: Server) -> None:
    await eventually(lambda: not server.jobs.live() and not server.runner.server.connections, "the end of all")
