"""Attacks by one owner on what all owners share: history, slots, the disk (see `faults.attacks`)."""

import asyncio
import base64
import os
import re
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from e2e.conftest import running
from faults.attacking import NOBODY, Attacked, ask, bounded, closing, fill, holding, port_of, times, used, with_users
from faults.clients import connected, head
from faults.stalls import MIB


@bounded
async def history(root: Path, scale: float) -> Attacked:
    """One user's exports, one after the other, for another's history."""
    count = times(1200, scale, least=1100)  # as many as are remembered, and some
    fill(root, "a")
    async with with_users(root) as (server, request):
        port = port_of(server)
        done = await ask(port, request("alice", "GET /files/a", Connection="close"))
        job = re.search(rb"Job-Id: (\S+)", done)[1].decode()
        export = request("mallory", "GET /files/a")
        async with connected(port) as client:
            for _ in range(count):
                await client.send(export)
                answer = b""
                while not answer.endswith(b"\r\n\r\n\0"):
                    data = await client.receive()
                    assert data, "the server has hung up"
                    answer += data
        kept = await ask(port, request("alice", f"GET /jobs/{job}", Connection="close"))
    known = kept.startswith(b"HTTP/1.1 200")
    return Attacked(
        f"{count:,} exports of one user / another's job remembered",
        f"{'yes' if known else 'no'}",
        "yes",
        known,
    )


@bounded
async def streams(root: Path, scale: float) -> Attacked:
    """One user's event streams, as many as there may be in all."""
    count = times(4000, scale)
    async with with_users(root) as (server, request), AsyncExitStack() as stack:
        port = port_of(server)
        watch = request("mallory", "GET /jobs/events")
        clients = await holding(stack, port, count, watch)
        statuses = []
        for client in clients:
            with suppress(TimeoutError):
                async with asyncio.timeout(NOBODY):
                    statuses.append(await client.status())
        async with connected(port) as client:
            await client.send(request("alice", "GET /jobs/events"))
            served = await client.status() == 200
    taken = statuses.count(200)
    return Attacked(
        f"{count:,} event streams of one user / another is told of events",
        f"{taken:,} taken / {'yes' if served else 'no'}",
        "<= 1,000 / yes",
        served and taken <= 1000,
    )


@bounded
async def records(root: Path, scale: float) -> Attacked:
    """Empty resumable uploads with much to be written down of each."""
    count = times(1000, scale, least=100)
    quota = count * 2000
    words = "filename YQ==,x " + base64.b64encode(os.urandom(5600)).decode()
    async with running(root, "--quota-per-owner", str(quota), "--min-free", "0") as server:
        port = port_of(server)
        made = 0
        async with connected(port) as client:
            for number in range(count):
                headers = {"Tus-Resumable": "1.0.0", "Upload-Length": number % 2, "Upload-Metadata": words}
                await client.send(head("POST /tus/?on_conflict=rename", Content_Length=0, **headers))
                status = await client.status()
                if status is None or status >= 400:
                    break
                made += 1
        taken = used(root)
    return Attacked(
        f"{count:,} empty resumable uploads with 7.6 KB of metadata, under a quota of {quota / 1e6:.1f} MB",
        f"{taken / 1e6:.1f} MB on the disk, of {made:,} that were taken",
        f"<= {1.1 * quota / 1e6:.1f} MB",
        taken <= 1.1 * quota,
    )


@bounded
async def repeats(root: Path, scale: float) -> Attacked:
    """Final uploads that name one part again and again: much from little."""
    size, repeated, finals = times(1024, scale, least=64) * 1024, 180, times(40, scale, least=4)
    limit = 16 * size
    tus = {"Tus-Resumable": "1.0.0"}
    bytes_ = {"Content_Type": "application/offset+octet-stream"}
    async with running(root, "--max-file-size", str(limit)) as server:
        port = port_of(server)
        part = closing("POST /tus/", Upload_Concat="partial", Upload_Length=size, Content_Length=size, **tus, **bytes_)
        made = await ask(port, part + bytes(size))
        url = re.search(rb"Location: \S+?(/tus/\S+)", made)[1].decode()

        async def final(number: int) -> int:
            name = base64.b64encode(f"final {number}".encode()).decode()
            concat = "final;" + " ".join([url] * (10 if number else repeated))
            headers = tus | {"Upload-Concat": concat, "Upload-Metadata": f"filename {name}", "Connection": "close"}
            answer = await ask(port, head("POST /tus/", Content_Length=0, **headers))
            return int(answer.split()[1])

        statuses = await asyncio.gather(*map(final, range(finals)))
        taken = used(root)
    return Attacked(
        f"{finals} final uploads of one part of {size // 1024} KiB, up to {repeated} times, no file above 16 of them",
        f"{taken / MIB:.1f} MiB on the disk, {statuses.count(201)} were made",
        f"<= {(limit + 2 * size) / MIB:.1f} MiB: no owner without a quota has more than one file may",
        taken <= limit + 2 * size,
    )
