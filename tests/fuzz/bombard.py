"""Sending bad inputs to a running server by the thousand, and reading its answers with suspicion.

An answer is suspicious if it is a 5xx that we did not mean, if there is none though the client has said that it is
done, if it tells a path of ours or shows a traceback, or if an error of ours is not a problem with a code.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from faults.log import faults_logged
from fuzz.inputs import request
from headgate.jobs import Actor
from support import Server, eventually

#: Seconds after which a server that has not answered, nor hung up, hangs.
PATIENCE = 10.0

#: 5xx that are meant. 501 and 505 are aiohttp's own, for methods and versions that are none.
MEANT = (501, 503, 505, 507)


#: The server's patience must be shorter than ours.
PATIENT = {"idle_timeout": 1.0, "watch_interval": 0.05, "linger_timeout": 0.5}


@dataclass
class FuzzResult:
    """What came back of so many inputs; 0 is an end without an answer."""

    inputs: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    server_errors: int = 0
    hangs: int = 0
    failures: list[str] = field(default_factory=list)


def _pieces(dice: random.Random, data: bytes) -> list[bytes]:
    """`data` as it may arrive: whole, in a few pieces, or (what is short) byte by byte."""
    how = dice.random()
    if how < 0.7 or not data:
        return [data]
    if how < 0.75 and len(data) < 300:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice((1, 2, 5))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


async def _some_of(reader: asyncio.StreamReader) -> bytes:
    """The beginning of an answer, if one comes within a moment: the input may be no whole request."""
    try:
        return await asyncio.wait_for(reader.read(1 << 16), 0.1)
    except TimeoutError:
        return b""


async def _exchange(port: int, dice: random.Random, data: bytes) -> bytes:
    """Send `data`, say that this is all, and return everything that comes back. Raises TimeoutError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                pieces = _pieces(dice, data)
                for piece in pieces:
                    writer.write(piece)
                    if len(pieces) > 1:
                        await asyncio.sleep(0)
                # It may be known to be all before the answer, or only afterwards.
                answer = b"" if dice.random() < 0.2 else await _some_of(reader)
                with suppress(OSError):  # the server may have hung up
                    writer.write_eof()
                return answer + await reader.read()
            return b""
    finally:
        writer.transport.abort()


def suspicions(sent: bytes, answer: bytes, secret: bytes) -> Iterator[str]:
    """What is wrong with what came back. `secret`: what must never be in it."""
    if not answer:
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(answer.split(None, 2)[1])
    if status >= 500 and status not in MEANT:
        yield f"a {status}"
    for inside in (secret, b"Traceback", b'File "'):
        if inside in answer:
            yield f"it shows {inside!r}"
    ours = b"nosniff" in head
    # What follows the answer to a HEAD is the next answer.
    coded = b'"code"' in body or not body or sent.startswith(b"HEAD ")
    if ours and status >= 400 and (b"application/problem+json" not in head or not coded):
        yield f"a {status} that is no problem+json"


async def bombard(server: Server, *, count: int, seed: int = 1, at_once: int = 20) -> FuzzResult:
    """Send `count` inputs, `at_once` at a time; afterwards nothing is live or staged, and no fault logged."""
    result = FuzzResult()
    numbers = iter(range(count))
    secret = str(server.root).encode()
    (server.root / "kept").write_bytes(b"kept" * 1000)  # something to ask for

    async def some() -> None:
        for number in numbers:
            dice = random.Random(f"{seed} {number}")
            data = request(dice)
            result.inputs += 1
            try:
                answer = await _exchange(server.port, dice, data)
            except TimeoutError:
                result.hangs += 1
                result.failures.append(f"seed {seed}, number {number}: no answer and no end to {data[:500]!r}")
                continue
            result.statuses[int(answer.split(None, 2)[1]) if answer.startswith(b"HTTP/") else 0] += 1
            for suspicion in suspicions(data, answer, secret):
                result.server_errors += suspicion.startswith("a 5")
                result.failures.append(f"seed {seed}, number {number}: {suspicion}: {data[:500]!r} {answer[:300]!r}")

    with faults_logged(result.failures):
        await asyncio.gather(*(some() for _ in range(at_once)))
        await eventually(lambda: all(job.is_resumable and job.task is None for job in server.jobs.live()), "an end")
        if live := server.jobs.live():  # interrupted, and rightly so
            await server.jobs.terminate(*live, by=Actor("root"))
    left = [name for name in server.staged() if not name.endswith(".kept.json")]
    result.failures += [f"left staged: {name}" for name in left]
    return result
