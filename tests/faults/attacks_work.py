"""Attacks by work: what is little to ask for and much to do (see `faults.attacks`)."""

import asyncio
import time
from pathlib import Path

from e2e.conftest import running
from faults.apart import apart
from faults.attacking import (
    GOAL,
    PATIENT,
    STALL,
    Attacked,
    Felt,
    ask,
    bounded,
    bystander,
    closing,
    fill,
    held,
    look,
    port_of,
    times,
    with_users,
)
from faults.machine import machine
from faults.stalls import MIB, StallResult, crowd


@bounded
async def renames(root: Path, scale: float) -> Attacked:
    """Uploads that are to be renamed, where very many names are taken."""
    taken = times(50_000, scale, least=2000)
    await asyncio.to_thread(_taken, root, taken)
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\nx\r\n--x--\r\n'
    type_ = "multipart/form-data; boundary=x"

    def upload(name: bytes, query: str = "") -> bytes:
        body = form % name
        return closing(f"POST /upload{query}", Content_Type=type_, Content_Length=len(body)) + body

    async with running(root) as server:
        port = port_of(server)
        felt, over = Felt(), asyncio.Event()

        async def attacker() -> None:
            while not over.is_set():
                await look(port, others, upload(b"a", "?on_conflict=rename"))

        others = Felt()
        attacking = [asyncio.create_task(attacker()) for _ in range(4)]
        until = time.perf_counter() + held(scale)
        number = 0
        while time.perf_counter() < until:
            await look(port, felt, upload(b"small %d" % (number := number + 1)))
        over.set()
        await asyncio.gather(*attacking)
    each = sorted(others.waits)[len(others.waits) // 2]
    return Attacked(
        f"renames among {taken:,} taken names",
        f"{each * 1000:.0f} ms each, small uploads of others: {felt}",
        f"<= 100 ms each, {GOAL}",
        not felt.unanswered,
        [felt.waited, (each, 0.1)],
    )


def _taken(root: Path, count: int) -> None:
    fill(root, "a", *(f"a ({number})" for number in range(1, count)), size=0)


async def _many_ask(port: int, clients: int, request: bytes, seconds: float, other: bytes = b"") -> Felt:
    over = asyncio.Event()

    async def asks() -> None:
        while not over.is_set():
            await ask(port, request)

    asking = [asyncio.create_task(asks()) for _ in range(clients)]
    try:
        async with bystander(port, other) as felt:
            await asyncio.sleep(seconds)
    finally:
        over.set()
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return felt


def _told(figure: str, result: StallResult, felt: Felt) -> Attacked:
    stall = f"p99 {result.percentile() * 1000:.1f} ms, longest {result.longest * 1000:.1f} ms"
    return Attacked(
        figure,
        f"{felt}; loop stalls {stall} ({result.notes})",
        f"{GOAL}; p99 <= {STALL * 1000:.0f} ms",
        not felt.unanswered,
        [felt.waited, (result.percentile(), STALL)],
    )


@bounded
async def listings(root: Path, scale: float) -> Attacked:
    """Very many listings of very many files by one user, and another one who lists."""
    files, clients = times(50_000, scale, least=5000), times(48, scale, least=12)
    await asyncio.to_thread(crowd, root, files)
    async with with_users(root) as (server, request):
        mine = request("alice", "GET /files?limit=1&after=crowd%205", Connection="close")
        theirs = request("mallory", "GET /files?sort=size", Connection="close")
        alone = Felt()
        await look(port_of(server), alone, theirs)
        felt = await _many_ask(port_of(server), clients, theirs, held(scale), mine)
    # One's turn comes after the piece of work that is under way, and takes as long as it takes.
    turn = PATIENT + 3 * alone.longest
    return Attacked(
        f"{clients} clients of one user list {files:,} files, another one lists",
        f"{felt} (the first listing took {alone.longest * 1000:.0f} ms)",
        f"others wait {turn * 1000:.0f} ms at most, none in vain",
        not felt.unanswered,
        [(felt.longest, turn)],
    )


@bounded
async def digests(root: Path, scale: float) -> Attacked:
    """Very many want the digest of a large file, of which they ask for some bytes."""
    size, clients = times(2048, scale, least=128) * MIB, times(200, scale, least=20)
    fill(root, "large", size=size)
    async with machine() as stood, apart(root) as server:
        await server.stalls()
        request = closing("GET /files/large", Range="bytes=0-9", Want_Repr_Digest="sha-256=5")
        felt = await _many_ask(server.port, clients, request, held(scale))
        windows = await server.stalls()
    figure = f"{clients} clients want the digest of {size // MIB} MiB for 10 bytes of it"
    return _told(figure, StallResult.of(windows, stood, f"{size // MIB} MiB"), felt)


@bounded
async def jobs(root: Path, scale: float) -> Attacked:
    """Very many ask for very many jobs."""
    count, clients = times(1000, scale, least=200), times(64, scale, least=16)
    async with machine() as stood, apart(root, ended_jobs=2 * count) as server:
        fill(root, "a")
        for _ in range(count):
            await ask(server.port, closing("GET /files/a"))
        await server.stalls()
        felt = await _many_ask(server.port, clients, closing("GET /jobs"), held(scale))
        windows = await server.stalls()
    return _told(f"{clients} clients list {count:,} jobs", StallResult.of(windows, stood, f"{count} jobs"), felt)


#: Headers whose reading could be more work than they are long.
_CRAFTED = {
    "Upload-Complete": (b"?1;a=", b" "),
    "Content-Type": (b"a/b", b";"),
    "Content-Disposition": (b"a", b"; "),
    "Want-Repr-Digest": (b"sha-256=1", b"; a"),
}


@bounded
async def crafted(root: Path, scale: float) -> Attacked:
    """Headers that are slow to read where their reader is careless."""
    count = times(100, scale, least=8)
    async with machine() as stood, apart(root) as server:
        await server.stalls()
        for number in range(count):
            name, (beginning, filler) = list(_CRAFTED.items())[number % len(_CRAFTED)]
            value = (beginning + filler * 8000)[: 7900 - number] + b","
            others = b"" if name == "Upload-Complete" else b"Upload-Complete: ?1\r\n"
            lines = b"Host: localhost\r\nConnection: close\r\nContent-Length: 0\r\n" + others
            await ask(server.port, b"POST /upload HTTP/1.1\r\n%b%b: %b\r\n\r\n" % (lines, name.encode(), value))
        windows = await server.stalls()
    result = StallResult.of(windows, stood, "of 8 KB each")
    return Attacked(
        f"{count} headers of 8 KB that are slow to read",
        f"loop stalls {result.longest * 1000:.1f} ms at most ({result.notes})",
        "<= 50 ms",
        True,
        [(result.longest, 0.05)],
    )
