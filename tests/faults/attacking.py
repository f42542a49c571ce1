"""The parts of every attack: its result, its bounds, and an honest client that measures its effect.

How to use it: write a coroutine of a root and a scale under ``@bounded`` that gives an `Attacked`; it is then one of
ATTACKS (see `faults.attacks`).
"""

import asyncio
import functools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from e2e.conftest import Process, running
from faults.clients import RawClient, connected, head
from faults.memory import raise_descriptor_limit
from headgate.web.middleware.tokens import new_token

#: Seconds of an attack at most, its server's start and end included.
LONGEST = 120.0

#: Seconds for which an attack is kept up while others look: that of the soak, and at least.
HELD, LEAST_HELD = 3.0, 0.8

#: Seconds between two looks of a bystander, and after which one says that nobody answers.
LOOK, NOBODY = 0.05, 5.0

#: Seconds that a bystander may wait. Machines are shared.
PATIENT = 0.5

#: Seconds of loop stall, of 99 of 100 tenths of a second.
STALL = 0.010


@dataclass
class Attacked:
    """What an attack did: `measured`, beside the `goal`.

    `bounded`: whether all that can be counted is as the goal says. `waits`: seconds that something took, and those of
    the goal.
    """

    figure: str
    measured: str
    goal: str
    bounded: bool
    waits: list[tuple[float, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def reached(self, patience: float = 1.0) -> bool:
        """Whether the goal is reached where everything may take `patience` times as long."""
        return self.bounded and all(took <= patience * goal for took, goal in self.waits)


Attack = Callable[[Path, float], Awaitable[Attacked]]

ATTACKS: dict[str, Attack] = {}


def bounded(attack: Attack) -> Attack:
    """It stops by itself, and is one of ATTACKS."""

    @functools.wraps(attack)
    async def run(root: Path, scale: float = 1.0) -> Attacked:
        raise_descriptor_limit()
        async with asyncio.timeout(LONGEST):
            return await attack(root, scale)

    ATTACKS[attack.__name__] = run
    return run


def times(number: int, scale: float, *, least: int = 1) -> int:
    return max(least, round(number * scale))


def held(scale: float) -> float:
    """Seconds for which it is kept up."""
    return max(LEAST_HELD, HELD * scale)


def fill(root: Path, *names: str, size: int = 1) -> None:
    """Put files there that take no room."""
    root.mkdir(exist_ok=True)
    for name in names:
        with (root / name).open("wb") as file:
            file.truncate(size)


def used(root: Path) -> int:
    """Bytes of all files there, whatever they are."""
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def descriptors(server: Process) -> list[str]:
    """What it has open."""
    opened = []
    for each in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            opened.append(os.readlink(each))
    return opened


# What others feel.


@dataclass
class Felt:
    """Seconds that each look of a bystander took; what was not answered is as long as was waited."""

    waits: list[float] = field(default_factory=list)
    unanswered: int = 0

    @property
    def longest(self) -> float:
        return max(self.waits, default=NOBODY)

    @property
    def waited(self) -> tuple[float, float]:
        return self.longest, PATIENT

    def __str__(self) -> str:
        return f"others waited {self.longest * 1000:.0f} ms at most, {self.unanswered} of {len(self.waits)} in vain"


GOAL = f"others wait {PATIENT * 1000:.0f} ms at most, none in vain"


async def ask(port: int, request: bytes) -> bytes:
    """The whole answer to `request`, on a connection of its own; none if there was none."""
    answer = b""
    async with connected(port) as client:
        await client.send(request)
        while data := await client.receive():
            answer += data
    return answer


def closing(call: str, **headers: object) -> bytes:
    return head(call, Connection="close", **headers)


async def look(port: int, felt: Felt, request: bytes = b"") -> None:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(NOBODY):
            answer = await ask(port, request or closing("GET /healthz"))
    except (TimeoutError, OSError):
        answer = b""
    felt.waits.append(time.perf_counter() - began)
    felt.unanswered += not answer.startswith(b"HTTP/1.1 2")


@asynccontextmanager
async def bystander(port: int, request: bytes = b"") -> AsyncIterator[Felt]:
    """Somebody who asks all the time while the block runs."""
    felt, over = Felt(), asyncio.Event()

    async def looks() -> None:
        while not over.is_set():
            await look(port, felt, request)
            await asyncio.sleep(LOOK)

    looking = asyncio.create_task(looks())
    try:
        yield felt
    finally:
        over.set()
        await looking


def port_of(server: Process) -> int:
    return int(server.url.rpartition(":")[2])


def cpu(server: Process) -> float:
    """Seconds of a processor that it has taken."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def holding(stack: AsyncExitStack, port: int, count: int, sent: bytes = b"", **options: int) -> list[RawClient]:
    """Up to `count` connections that have `sent` something, and stay until `stack` is left."""
    clients: list[RawClient] = []
    for _ in range(count):
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                client = await stack.enter_async_context(connected(port, **options))
                clients.append(client)
                if sent:
                    await client.send(sent)
    return clients


def little_room(descriptors: int) -> tuple[str, ...]:
    """A launcher for a server that may have so many."""
    return ("prlimit", f"--nofile={descriptors}:{descriptors}")


@asynccontextmanager
async def with_users(root: Path, *arguments: str) -> AsyncIterator[tuple[Process, Callable[..., bytes]]]:
    """A server with alice and mallory, and what makes requests of theirs."""
    tokens = {user: new_token(user) for user in ("alice", "mallory")}
    file = root.with_name(root.name + ".tokens")
    file.write_text("".join(line + "\n" for _, line in tokens.values()))
    file.chmod(0o600)

    def request(user: str, call: str, **headers: object) -> bytes:
        return head(call, Authorization=f"Bearer {tokens[user][0]}", **headers)

    async with running(root, "--tokens", str(file), *arguments) as server:
        yield server, request
