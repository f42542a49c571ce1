"""kill -9 at any moment, and a restart: nothing acknowledged is lost, nothing half is visible, nothing is left staged.

How to use it for another scenario: `Zygote` starts real servers quickly; `Killable` is one that can be killed; a file's
content tells whether it is whole (`content`, `is_whole`), whatever its name. `kill_and_restart` is the scenario itself:
workers that upload, replace and export until the server is killed under them, and a look at what the next one has.
"""

import asyncio
import contextlib
import io
import json
import os
import random
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from support import FORM, PATIENCE, eventually, form, part

SIZES = (0, 1, 1000, 100_000, 600_000, 2_000_000)

_HEAD = re.compile(rb"([^\n]{1,100}) (\d+)\n")


def content(label: str, size: int) -> bytes:
    """A file's content: it says what it is meant to be, so that a part of it is known for a part."""
    return f"{label} {size}\n".encode() + random.Random(label).randbytes(size)


def label_of(data: bytes) -> str | None:
    """What the whole file `data` is; None if it is not whole."""
    match = _HEAD.match(data)
    if match is None:
        return None
    label = match[1].decode()
    return label if data == content(label, int(match[2])) else None


@dataclass
class Killable:
    """A running server process."""

    pid: int
    url: str

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal and wait until the process, all its threads and its locks are gone."""
        loop = asyncio.get_running_loop()
        gone = loop.create_future()
        descriptor = os.pidfd_open(self.pid)
        loop.add_reader(descriptor, lambda: gone.done() or gone.set_result(None))
        try:
            signal.pidfd_send_signal(descriptor, number)
            await asyncio.wait_for(gone, PATIENCE)
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


class Zygote:
    """Starts servers without importing everything anew."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log

    async def start(self, root: Path, *arguments: str) -> Killable:
        options = ["serve", "--port", "0", "--root", str(root), *arguments]
        self._process.stdin.write(json.dumps([options, str(self.log)]).encode() + b"\n")
        pid = int(await self._line())
        ready = re.match(r"headgate: (http://\S+)/ root ", await self._line())
        assert ready, self.log.read_text()
        return Killable(pid, ready[1])

    async def _line(self) -> str:
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        assert line, f"the server did not start: {self.log.read_text()}"
        return line.decode()


@asynccontextmanager
async def zygote(log: Path) -> AsyncIterator[Zygote]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("zygote.py"))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Zygote(process, log)
    finally:
        process.stdin.close()
        await process.wait()


@dataclass
class KillResult:
    """What so many kills did. `phases`: what the uploads under way were doing when the server was killed."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    partial: int = 0
    left: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@dataclass
class Worker:
    """One client: it uploads, replaces, holds and exports until its server is gone. Its names are its own."""

    name: str
    dice: random.Random
    url: str = ""
    phase: str = "between"
    #: Acknowledged files, by name: their labels.
    kept: dict[str, str] = field(default_factory=dict)
    #: What was under way and may be there or not, by name.
    maybe: dict[str, str] = field(default_factory=dict)
    acknowledged: int = 0
    _count: int = 0

    async def work(self, url: str, session: aiohttp.ClientSession, progress: asyncio.Event) -> None:
        """Never returns: ends by being cancelled, or when the server is gone."""
        self.url, self.phase = url, "between"
        try:
            while True:
                if self.kept and self.dice.random() < 0.2:
                    await self._export(session)
                else:
                    await self._upload(session)
                self.phase = "between"
                progress.set()
        except (aiohttp.ClientError, ConnectionError):
            pass

    def _files(self) -> Iterator[tuple[str, str, bytes]]:
        """Name, label and content of what one upload brings: new names, or, one time in four, older ones."""
        older = self.dice.sample(sorted(self.kept), min(len(self.kept), 2)) if self.dice.random() < 0.25 else []
        names = older or [f"{self.name}-{self._count}-{number}" for number in range(self.dice.choice((1, 1, 1, 3)))]
        for name in names:
            self._count += 1
            label = f"{name}#{self._count}"
            yield name, label, content(label, self.dice.choice(SIZES))

    async def _upload(self, session: aiohttp.ClientSession) -> None:
        files = list(self._files())
        replacing = files[0][0] in self.kept
        body = form(*(part(name, data) for name, _, data in files))
        held_at = self.dice.randrange(len(body)) if self.dice.random() < 0.15 else None
        self.maybe = {name: label for name, label, _ in files}

        async def pieces() -> AsyncIterator[bytes]:
            stream, sent = io.BytesIO(body), 0
            while piece := stream.read(64 * 1024):
                if held_at is not None and sent + len(piece) > held_at:
                    self.phase = "held"
                    await asyncio.Event().wait()
                yield piece
                sent += len(piece)
                self.phase = "sending"
            self.phase = "deciding"

        self.phase = "starting"
        async with session.post(
            f"{self.url}/upload?on_conflict={'replace' if replacing else 'reject'}", data=pieces(), headers=FORM
        ) as response:
            assert response.status == 201, await response.text()
            await response.read()
        self.kept |= self.maybe
        self.maybe = {}
        self.acknowledged += len(files)

    async def _export(self, session: aiohttp.ClientSession) -> None:
        name = self.dice.choice(sorted(self.kept))
        self.phase = "exporting"
        async with session.post(f"{self.url}/export", json={"filename": name}) as response:
            assert label_of(await response.read()) == self.kept[name], f"{name} came out otherwise than it went in"


def look(root: Path, workers: list[Worker], result: KillResult) -> None:
    """Hold what is there against what was acknowledged. Called when the server is ready again."""
    left = os.listdir(root / ".staging")
    result.left += len(left)
    result.failures += [f"left staged: {name}" for name in left]
    visible = {}
    for entry in os.scandir(root):
        if entry.is_file():
            visible[entry.name] = label_of(Path(entry.path).read_bytes())
    for name in visible:
        if visible[name] is None or name.startswith("."):
            result.partial += 1
            result.failures.append(f"not whole: {name}")
    for worker in workers:
        for name, label in worker.kept.items():
            if visible.get(name) not in (label, worker.maybe.get(name, label)):
                result.lost += 1
                result.failures.append(f"lost: {label}, there is {visible.get(name)}")
        worker.kept |= {name: label for name, label in worker.maybe.items() if visible.get(name) == label}
        worker.maybe = {}


def clear(root: Path, workers: list[Worker]) -> None:
    for worker in workers:
        worker.kept = {}
    if not root.exists():
        return
    for entry in os.scandir(root):
        if entry.is_file():
            os.unlink(entry.path)


async def kill_and_restart(root: Path, *, rounds: int, seed: int = 1, at_once: int = 4) -> KillResult:
    """Kill a server `rounds` times, each time with `at_once` clients at work on it."""
    dice = random.Random(seed)
    result = KillResult()
    workers = [Worker(f"w{number}", random.Random(f"{seed} {number}")) for number in range(at_once)]
    async with zygote(root.with_name(root.name + ".log")) as nest:
        for round_ in range(rounds):
            if round_ % 5 == 0:
                clear(root, workers)
            server = await nest.start(root)
            look(root, workers, result)
            await _work_until_killed(server, workers, dice, result)
        server = await nest.start(root)
        look(root, workers, result)
        await server.kill(signal.SIGTERM)
        if "Traceback" in (log := nest.log.read_text()):
            result.failures.append(f"a traceback in the log: {log[log.index('Traceback') :][:1000]}")
    result.acknowledged = sum(worker.acknowledged for worker in workers)
    return result


async def _work_until_killed(server: Killable, workers: list[Worker], dice: random.Random, result: KillResult) -> None:
    progress = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        tasks = [asyncio.create_task(worker.work(server.url, session, progress)) for worker in workers]
        for _ in range(dice.randrange(8)):  # so many acknowledgements, unless all are held
            progress.clear()
            if all(worker.phase == "held" for worker in workers):
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(progress.wait(), 0.5)
        await asyncio.sleep(dice.random() * 0.02)  # the random point
        result.phases.update(worker.phase for worker in workers)
        await server.kill()
        result.kills += 1
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, AssertionError):
                result.failures.append(str(outcome))


async def restart_beside_a_survivor(root: Path) -> list[str]:
    """Two servers share a root; one is killed and starts anew while the other's upload is under way. Returns what is
    wrong afterwards."""
    data = content("survivor", 1_000_000)
    body = form(part("survivor", data))
    go_on = asyncio.Event()
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:500_000]
        begun.set()
        await go_on.wait()
        yield body[500_000:]

    async with zygote(root.with_name(root.name + ".log")) as nest, aiohttp.ClientSession() as session:
        survivor, victim = await nest.start(root), await nest.start(root)

        async def upload(url: str) -> int:
            async with session.post(f"{url}/upload", data=pieces(), headers=FORM) as response:
                return response.status

        upload_ = asyncio.create_task(upload(survivor.url))
        await begun.wait()
        await eventually(lambda: os.listdir(root / ".staging"), "a staged file")
        await victim.kill()
        victim = await nest.start(root)
        go_on.set()
        status = await upload_
        for server in (survivor, victim):
            await server.kill(signal.SIGTERM)
    wrong = [] if status == 201 else [f"the survivor's upload had {status}"]
    if not (root / "survivor").exists() or label_of((root / "survivor").read_bytes()) != "survivor":
        wrong.append("the survivor's file is not there")
    return wrong
