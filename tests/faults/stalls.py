"""How long the event loop stalls: large partials removed, a saturated disk, a crowded directory, very many jobs or
watchers.

Each situation runs a server apart (`faults.apart`), puts its load on it, and returns the longest stall of every tenth
of a second, without what the machine itself stood still (`faults.machine`).
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import UUID, uuid4

import aiohttp

from faults.apart import Stall, apart
from faults.clients import connected, upload_head
from faults.machine import Stood, machine
from faults.memory import hold_uploads, raise_descriptor_limit
from support import END, FORM, PATIENCE, eventually, file_form, part

MIB = 1024 * 1024

#: What the situations must not be disturbed by.
CONFIG = {"idle_timeout": 600.0, "min_rate": 0, "linger_size": 0}

#: Seconds: slow disks are what this is about.
LONG = 6 * PATIENCE

#: Bytes of unwritten data from which on the kernel makes writers wait, for the length of a test.
DIRTY = 256 * MIB

_VM = Path("/proc/sys/vm")


@dataclass
class StallResult:
    """`stalls`: seconds, the longest of each tenth of a second. `notes`: what shows that the situation was one."""

    stalls: list[float]
    notes: str = ""

    @classmethod
    def of(cls, windows: list[list[Stall]], stood: Stood, notes: str) -> Self:
        """Of the `stalls` in `windows`, what the machine `stood` taken off; the notes tell what they were with it."""

        def longest(stood: Stood) -> list[float]:
            return [max((stall.less(stood) for stall in window), default=0.0) for window in windows]

        with_it = cls(longest(Stood()))
        return cls(longest(stood), f"{notes}; {stood}, and with those p99 {with_it.percentile() * 1000:.1f} ms")

    def percentile(self, percent: float = 99) -> float:
        """Seconds: the stall that `percent` of them do not exceed."""
        ordered = sorted(self.stalls)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @property
    def longest(self) -> float:
        return max(self.stalls)


async def _send(port: int, job: UUID, name: str, size: int, all_sent: asyncio.Event | None = None) -> int | None:
    """Upload `size` bytes as fast as it goes, or until the server hangs up; with `all_sent`, hold the upload there."""
    async with connected(port) as client:
        beginning, end = part(name, b"")[:-2], b"\r\n" + END
        await client.send(upload_head(Content_Length=len(beginning) + size + len(end), Job_Id=job) + beginning)
        piece = bytes(MIB)
        for start in range(0, size, MIB):
            await client.send(piece[: size - start])
        if all_sent is None:
            await client.send(end)
        else:
            all_sent.set()
        return await client.status()


async def _terminate(session: aiohttp.ClientSession, port: int, job: UUID) -> int:
    async with session.delete(f"http://127.0.0.1:{port}/jobs/{job}") as response:
        return response.status


def _bytes_in(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())


async def terminating(root: Path, *, uploads: int, size: int) -> StallResult:
    """Terminate `uploads` partials of `size` bytes while others go on: half of them one by one, then the rest
    at once."""
    staging = root / ".staging"
    async with machine() as stood, apart(root, **CONFIG) as server, aiohttp.ClientSession() as session:
        jobs = [uuid4() for _ in range(uploads)]
        sent = [asyncio.Event() for _ in jobs]
        clients = [
            asyncio.create_task(_send(server.port, job, f"partial {number}", size, sent[number]))
            for number, job in enumerate(jobs)
        ]
        for each in sent:
            await each.wait()
        # A client's bytes may still be in the sockets' buffers.
        await eventually(lambda: _bytes_in(staging) == uploads * size, "the last byte", LONG)
        over = asyncio.Event()

        async def bystander() -> None:
            while not over.is_set():
                name = f"bystander {uuid4()}"
                assert await _send(server.port, uuid4(), name, 32 * MIB) == 201
                (root / name).unlink()

        clients.append(asyncio.create_task(bystander()))
        await server.stalls()
        windows = []
        for job in jobs[: uploads // 2]:
            assert await _terminate(session, server.port, job) == 200
            windows += await server.stalls()
        together = [_terminate(session, server.port, job) for job in jobs[uploads // 2 :]]
        assert set(await asyncio.gather(*together)) == {200}
        await eventually(lambda: server.open_files(staging) <= 1, "the last close", LONG)
        windows += await server.stalls()
        over.set()
        await asyncio.gather(*clients)
        assert list(staging.iterdir()) == []
    return StallResult.of(windows, stood, f"{uploads} partials of {size // MIB} MiB, and uploads beside them")


@contextmanager
def little_dirty_memory() -> Iterator[bool]:
    """Let the kernel make writers wait early, if it lets us. Machine-wide, and restored afterwards."""
    names = ("dirty_ratio", "dirty_background_ratio", "dirty_bytes", "dirty_background_bytes")
    before = {name: (_VM / name).read_text().strip() for name in names}
    try:
        (_VM / "dirty_background_bytes").write_text(str(DIRTY // 2))
        (_VM / "dirty_bytes").write_text(str(DIRTY))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        for name, value in before.items():
            if value != "0":  # of a ratio and its bytes one is 0, and setting one sets the other to it
                (_VM / name).write_text(value)


#: A process that writes as fast as it can, and tells at its end how long its longest write took. The disk is to be
#: scarce, not the processor.
_HOG = """
import os, sys, time
os.nice(19)
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
block, longest, until = bytes(1 << 20), 0.0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    began = time.monotonic()
    os.write(fd, block)
    longest = max(longest, time.monotonic() - began)
    if os.lseek(fd, 0, os.SEEK_CUR) >= 2 << 30:
        os.lseek(fd, 0, os.SEEK_SET)
print(longest)
"""


async def saturated(root: Path, *, seconds: float, uploads: int = 4) -> StallResult:
    """Upload without end, `uploads` at a time, while another process swamps the disk; every other one is terminated."""
    hog_file = root.with_name(root.name + ".hog")
    with little_dirty_memory() as little:
        async with machine() as stood, apart(root, **CONFIG) as server, aiohttp.ClientSession() as session:
            hog = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _HOG, str(hog_file), str(seconds)), stdout=asyncio.subprocess.PIPE
            )
            until = time.monotonic() + seconds
            moved = 0

            async def client(number: int) -> None:
                nonlocal moved
                count = 0
                while time.monotonic() < until:
                    job, count = uuid4(), count + 1
                    upload = asyncio.create_task(_send(server.port, job, f"f {number} {count}", 100 * MIB))
                    if count % 2:
                        await asyncio.sleep(0.5)
                        await _terminate(session, server.port, job)
                    if await upload == 201:
                        moved += 100 * MIB
                        (root / f"f {number} {count}").unlink()

            await server.stalls()
            clients = [asyncio.create_task(client(number)) for number in range(uploads)]
            longest_write = float(await hog.stdout.read())
            windows = await server.stalls()
            await asyncio.gather(*clients)
            await hog.wait()
    hog_file.unlink()
    how = "dirty memory limited" if little else "as the machine is"
    notes = f"{how}; another writer's longest write {longest_write:.2f} s; {moved // MIB} MiB published meanwhile"
    return StallResult.of(windows, stood, notes)


def crowd(root: Path, files: int) -> None:
    """Fill `root` with so many files."""
    root.mkdir(exist_ok=True)
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(files):
        os.close(os.open(f"crowd {number}", os.O_WRONLY | os.O_CREAT, dir_fd=directory))
    os.close(directory)


async def crowded(root: Path, *, files: int, rounds: int) -> StallResult:
    """Start on a directory of `files` files, count them again and again, and upload, replace and export meanwhile."""
    await asyncio.to_thread(crowd, root, files)
    async with (
        machine() as stood,
        apart(root, **CONFIG, quota=10**15, quota_per_owner=10**15) as server,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://127.0.0.1:{server.port}"
        for number in range(rounds):
            tidy = asyncio.create_task(server.tidy())
            while not tidy.done():
                for conflict in ("reject", "replace", "rename"):
                    body = file_form(f"f {number}", b"some bytes")
                    async with session.post(
                        f"{url}/upload?on_conflict={conflict}", data=body, headers=FORM
                    ) as response:
                        assert response.status in (201, 409), response.status
                async with session.post(f"{url}/export", json={"filename": f"crowd {number}"}) as response:
                    assert response.status == 200, response.status
                    await response.read()
                async with session.get(f"{url}/files?after=crowd%205") as response:
                    assert response.status == 200, response.status
            await tidy
        windows = server.started + await server.stalls()
    return StallResult.of(windows, stood, f"{files} files, counted {rounds + 1} times")


async def busy(root: Path, *, uploads: int, rounds: int) -> StallResult:
    """List `uploads` live ones again and again, and terminate all of them with one call."""
    raise_descriptor_limit()
    config = CONFIG | {"max_jobs": 2 * uploads, "max_jobs_per_owner": 2 * uploads}
    async with (
        machine() as stood,
        apart(root, **config) as server,
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session,
        AsyncExitStack() as stack,
    ):
        await hold_uploads(stack, server.port, root, uploads)
        await server.stalls()
        for _ in range(rounds):
            async with session.get("/jobs") as response:
                assert len((await response.json())["jobs"]) == uploads
        listing = await server.stalls()
        async with session.delete("/upload/terminate") as response:
            assert len((await response.json())["terminated"]) == uploads
        assert list((root / ".staging").iterdir()) == []
        windows = listing + await server.stalls()
    return StallResult.of(windows, stood, f"{uploads} uploads, listed {rounds} times, terminated by one call")


async def watched(root: Path, *, watchers: int, uploads: int, seconds: float) -> StallResult:
    """Tell `watchers` of `uploads` that move all the time, of which one after the other is paused and resumed."""
    raise_descriptor_limit()
    async with (
        machine() as stood,
        apart(root, **CONFIG, total_rate=64 * MIB) as server,
        aiohttp.ClientSession(
            f"http://127.0.0.1:{server.port}",
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session,
        AsyncExitStack() as stack,
    ):
        told = 0
        jobs = [uuid4() for _ in range(uploads)]
        sending = [
            asyncio.create_task(_send(server.port, job, f"watched {number}", 4096 * MIB))
            for number, job in enumerate(jobs)
        ]

        async def watcher() -> None:
            nonlocal told
            async with session.get("/jobs/events") as response:
                while chunk := await response.content.readany():
                    told += chunk.count(b"event: ")

        watching = [asyncio.create_task(watcher()) for _ in range(watchers)]
        stack.callback(lambda: [task.cancel() for task in (*watching, *sending)])
        await eventually(lambda: told >= watchers, "a snapshot for everybody", LONG)
        await server.stalls()
        told, changes, until = 0, 0, time.monotonic() + seconds
        while time.monotonic() < until:
            for state in ("paused", "running"):
                async with session.patch(f"/jobs/{jobs[changes % uploads]}", json={"state": state}) as response:
                    assert response.status == 200, response.status
                changes += 1
                await asyncio.sleep(0.2)
        windows = await server.stalls()
        notes = f"{watchers} watchers of {uploads} uploads; {changes} changes, {told // watchers} events to each"
    return StallResult.of(windows, stood, notes)


SITUATIONS = {each.__name__: each for each in (terminating, saturated, crowded, busy, watched)}
