"""kill -9 in the middle of appends, and a restart: the offset is that of the bytes, and none that was acknowledged is
lost.

`kill_and_resume` is the scenario: clients that upload by tus, in requests of any size, some of them with checksums,
until the server is killed under them; then a look at what the next one has, and they go on with that.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import aiohttp

from faults.kills import Killable, content, label_of, zygote
from support import eventually
from tus import BYTES, VERSION, named

SIZES = (1, 1000, 200_000, 1_500_000, 3_000_000)
PIECE = 32 * 1024


@dataclass
class ResumeResult:
    """What so many kills did. `amid`: those that met an append with bytes on their way."""

    kills: int = 0
    amid: int = 0
    finished: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass
class Resumer:
    """One client, and its upload under way."""

    name: str
    dice: random.Random
    result: ResumeResult
    count: int = 0
    #: Bytes that the server said it has, and bytes that were sent.
    acknowledged: int = 0
    sent: int = 0
    amid: bool = False

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.count += 1
        self.label = f"{self.name}-{self.count}"
        self.id = UUID(int=self.dice.getrandbits(128), version=4)
        self.data = content(self.label, self.dice.choice(SIZES))
        self.acknowledged = self.sent = 0

    def wrong(self, what: str) -> None:
        self.result.failures.append(f"{self.label}: {what}")

    async def offset(self, url: str, session: aiohttp.ClientSession) -> int | None:
        """What the server says that it has; None if it knows nothing of it."""
        async with session.head(f"{url}/tus/{self.id}", headers=VERSION) as response:
            return int(response.headers["Upload-Offset"]) if response.status == 200 else None

    async def look(self, root: Path, url: str, session: aiohttp.ClientSession) -> None:
        """The server is new: hold what it says against what was acknowledged, what was sent, and what is there."""
        offset = await self.offset(url, session)
        if offset is None:
            if self.acknowledged:
                self.wrong(f"{self.acknowledged} bytes were acknowledged, and it is not known any more")
            return
        if not self.acknowledged <= offset <= self.sent:
            self.wrong(f"{self.acknowledged} bytes were acknowledged, {self.sent} sent; it says {offset}")
        published, kept = root / self.label, root / ".staging" / f"{self.id}.kept"
        there = published if published.exists() else kept
        data = there.read_bytes()
        if len(data) != offset or data != self.data[:offset]:
            self.wrong(f"it says {offset} bytes; there are {len(data)}, {data == self.data[: len(data)]}")
        if (there is published) is not (offset == len(self.data)):
            self.wrong(f"{offset} of {len(self.data)} bytes, and published: {there is published}")

    async def work(self, url: str, session: aiohttp.ClientSession) -> None:
        """Never returns: ends by being cancelled, or when the server is gone."""
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            while True:
                offset = await self.offset(url, session)
                if offset is None:
                    await self._create(url, session)
                elif offset < len(self.data):
                    await self._append(url, session, offset)
                else:
                    self.result.finished += 1
                    self.begin()

    async def _create(self, url: str, session: aiohttp.ClientSession) -> None:
        headers = VERSION | named(self.label) | {"Job-Id": str(self.id), "Upload-Length": str(len(self.data))}
        async with session.post(f"{url}/tus/", headers=headers) as response:
            assert response.status == 201, await response.text()

    async def _append(self, url: str, session: aiohttp.ClientSession, offset: int) -> None:
        chunk = self.data[offset : offset + self.dice.choice((1, 5000, 300_000, len(self.data)))]
        headers = VERSION | BYTES | {"Upload-Offset": str(offset)}
        if self.dice.random() < 0.3:
            digest = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
            headers["Upload-Checksum"] = f"sha256 {digest}"

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(chunk), PIECE):
                piece = chunk[start : start + PIECE]
                self.sent = max(self.sent, offset + start + len(piece))
                self.amid = True
                yield piece

        async with session.patch(f"{url}/tus/{self.id}", headers=headers, data=pieces()) as response:
            assert response.status == 204, await response.text()
            self.acknowledged = int(response.headers["Upload-Offset"])
            if self.acknowledged != offset + len(chunk):
                self.wrong(f"{len(chunk)} bytes after {offset} make {self.acknowledged}")
        self.amid = False


async def kill_and_resume(root: Path, *, rounds: int, seed: int = 1, at_once: int = 3) -> ResumeResult:
    """Kill a server `rounds` times, each time with `at_once` clients in the middle of their uploads."""
    dice = random.Random(seed)
    result = ResumeResult()
    clients = [Resumer(f"r{number}", random.Random(f"{seed} {number}"), result) for number in range(at_once)]
    async with zygote(root.with_name(root.name + ".log")) as nest:
        for _ in range(rounds):
            server = await nest.start(root)
            await _look(root, server, clients, result)
            await _work_until_killed(server, clients, dice, result)
        server = await nest.start(root)
        await _look(root, server, clients, result)
        await server.kill(signal.SIGTERM)
        if "Traceback" in (log := nest.log.read_text()):
            result.failures.append(f"a traceback in the log: {log[log.index('Traceback') :][:1000]}")
    return result


async def _look(root: Path, server: Killable, clients: list[Resumer], result: ResumeResult) -> None:
    async with aiohttp.ClientSession() as session:
        for client in clients:
            await client.look(root, server.url, session)
    _look_at_published(root, clients, result)
    known = {str(client.id) for client in clients}
    result.failures += [
        f"left staged: {name}"
        for name in os.listdir(root / ".staging")
        if name.partition(".")[0] not in known and not name.endswith(".kept.json")
    ]


def _look_at_published(root: Path, clients: list[Resumer], result: ResumeResult) -> None:
    for entry in list(os.scandir(root)):
        if entry.is_file():
            if label_of(Path(entry.path).read_bytes()) != entry.name:
                result.failures.append(f"not whole: {entry.name}")
            if all(client.label != entry.name for client in clients):
                os.unlink(entry.path)  # it was looked at


async def _work_until_killed(
    server: Killable, clients: list[Resumer], dice: random.Random, result: ResumeResult
) -> None:
    async with aiohttp.ClientSession() as session:
        for client in clients:
            client.amid = False
        tasks = [asyncio.create_task(client.work(server.url, session)) for client in clients]
        await asyncio.sleep(dice.random() * 0.08)  # the random point
        await eventually(lambda: any(client.amid for client in clients) or all(task.done() for task in tasks))
        result.amid += any(client.amid for client in clients)
        await server.kill()
        result.kills += 1
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, AssertionError):
                result.failures.append(str(outcome))
