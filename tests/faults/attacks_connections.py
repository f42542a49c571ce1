"""Attacks by connections: idle ones, ones that never end their request, ones that never read (see `faults.attacks`)."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from e2e.conftest import Process, running
from faults.attacking import (
    GOAL,
    LOOK,
    NOBODY,
    Attacked,
    Felt,
    bounded,
    bystander,
    closing,
    cpu,
    descriptors,
    fill,
    held,
    holding,
    little_room,
    port_of,
    times,
)
from faults.clients import connected, head
from faults.stalls import MIB
from support import eventually

#: Seconds after which nobody is held who has not read for two.
LET_GO = 15.0


@bounded
async def idle(root: Path, scale: float) -> Attacked:
    """More idle connections than the server has descriptors."""
    count = times(1500, scale, least=375)
    async with running(root, launcher=little_room(256)) as server, AsyncExitStack() as stack:
        port = port_of(server)
        let_in = await holding(stack, port, count)
        before, log = cpu(server), server.log.stat().st_size
        felt = Felt()
        began = time.perf_counter()
        # Who holds all that one address may have gets no more, and others come from other addresses.
        while time.perf_counter() - began < held(scale):
            await look_from("127.0.0.2", port, felt)
            await asyncio.sleep(LOOK)
        seconds = time.perf_counter() - began
        share, logged = (cpu(server) - before) / seconds, server.log.stat().st_size - log
    return Attacked(
        f"{count:,} idle connections to a server with 256 descriptors",
        f"{share:.0%} of a processor, {logged:,} bytes logged in {seconds:.0f} s, {felt} ({len(let_in)} were let in)",
        f"<= 20% of a processor, <= 2,000 bytes, {GOAL}",
        share <= 0.2 and logged <= 2000 and not felt.unanswered,
        [felt.waited],
    )


async def look_from(address: str, port: int, felt: Felt) -> None:
    """A look from another address of this machine."""
    began = time.perf_counter()
    answer = b""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(NOBODY):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            try:
                writer.write(closing("GET /healthz"))
                answer = await reader.read()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    felt.waits.append(time.perf_counter() - began)
    felt.unanswered += not answer.startswith(b"HTTP/1.1 200")


@bounded
async def zips(root: Path, scale: float) -> Attacked:
    """One user's zips, each of a hundred files, none of which is taken."""
    count = times(20, scale, least=5)
    fill(root, *map(str, range(100)), size=MIB)
    body = ('{"filenames": [' + ", ".join(f'"{number}"' for number in range(100)) + "]}").encode()
    request = head("POST /export", Content_Type="application/json", Content_Length=len(body)) + body
    async with running(root, launcher=little_room(256)) as server, AsyncExitStack() as stack:
        port = port_of(server)
        let_in = await holding(stack, port, count, request, window=4096)
        for client in let_in:
            async with asyncio.timeout(NOBODY):
                await client.receive(100)
        async with bystander(port, closing("GET /files/0", Range="bytes=0-9")) as felt:
            await asyncio.sleep(held(scale))
        opened = len(descriptors(server))
        logged = server.log.read_text().count("accept")
    return Attacked(
        f"{count} zips of 100 files by one user, of 256 descriptors",
        f"{opened} descriptors open, {felt}, {logged} lines of the log about accepting",
        f"<= {40 + 6 * count} descriptors, {GOAL}, none",
        opened <= 40 + 6 * count and not felt.unanswered and not logged,
        [felt.waited],
    )


@bounded
async def unread(root: Path, scale: float) -> Attacked:
    """Requests whose client does not read the answers, and then the end of the server."""
    count = times(50, scale, least=4)
    fill(root, "large", size=MIB)
    limits = ("--idle-timeout", "2", "--header-timeout", "2", "--drain-timeout", "1")
    calls = [head("GET /app.js"), head("GET /"), head("GET /jobs"), head("GET /files"), head("GET /files/large")]
    async with running(root, *limits) as server, AsyncExitStack() as stack:
        port = port_of(server)
        clients = []
        for number in range(count):
            clients += await holding(stack, port, 1, window=4096)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await clients[-1].send(calls[number % len(calls)] * 2000)
        began = time.perf_counter()
        with suppress(AssertionError):
            await eventually(lambda: not connections(server), "the end of all connections", LET_GO)
        left = connections(server)
        let_go = time.perf_counter() - began
        fresh = await holding(stack, port, count, calls[1] * 20, window=4096)
        began = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(40):
                await server.process.wait()
        except TimeoutError:
            server.kill()
            await server.process.wait()
        ended = time.perf_counter() - began
    return Attacked(
        f"{count + len(fresh)} clients that read no answer, timeouts of 2 s",
        f"{left} held after {let_go:.1f} s; SIGTERM took {ended:.1f} s",
        f"0 held after {LET_GO:.0f} s; SIGTERM <= 9 s",
        not left,
        [(ended, 9)],
    )


def connections(server: Process) -> int:
    """Those that it has open: sockets, but for its own ones."""
    return max(0, sum(each.startswith("socket:") for each in descriptors(server)) - OWN_SOCKETS)


#: What listens, and asyncio's pair by which signals and threads wake it.
OWN_SOCKETS = 3


@bounded
async def heads(root: Path, scale: float) -> Attacked:
    """Heads of requests that are long and have no end."""
    count = times(300, scale, least=30)
    sent = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
        b"X-%d: %b\r\n" % (number, b"x" * 8000) for number in range(120)
    )
    async with running(root) as server, AsyncExitStack() as stack:
        port = port_of(server)
        before = server.memory()
        refused = 0

        async def send_one() -> None:
            nonlocal refused
            client = await stack.enter_async_context(connected(port))
            with suppress(TimeoutError):
                async with asyncio.timeout(held(scale)):
                    await client.send(sent)
                    refused += await client.status() == 431

        async with bystander(port) as felt:
            await asyncio.gather(asyncio.sleep(held(scale)), *(send_one() for _ in range(count)))
        grown = server.peak_memory() - before
    most = 20 * MIB + count * 200_000
    return Attacked(
        f"{count} heads of 960 KB without an end",
        f"{grown / MIB:.0f} MiB more, {refused} told 431, {felt}",
        f"<= {most / MIB:.0f} MiB, {GOAL}",
        grown <= most and not felt.unanswered,
        [felt.waited],
    )
