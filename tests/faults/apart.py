"""A server in a process of its own, with someone inside who looks at the clock and at the memory.

How to use it: ``async with apart(root, **config) as server``, put a load on ``server.port``, and ask
``await server.stalls()`` (since the last time) or ``await server.memory()``.

The one inside is the server's own event loop, which wakes every millisecond and notes how much too late. What is no
fault of the loop is told with it: what the kernel gave to other processes meanwhile (it keeps account of how long a
thread was ready to run and did not, in ``/proc/thread-self/schedstat``); and `Stall.less` takes off, too, what the
machine itself stood still (`faults.machine`).
"""

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from faults.machine import Stood
from headgate.cli.server.server_process import settle_memory
from support import PATIENCE, serving

#: Seconds between two looks at the clock.
TICK = 0.001

#: Seconds of a stall that is noted: the selector's clock has milliseconds, so that less is none.
NOTICED = 0.001

#: Bytes: a minute's stalls, each of them, are long to tell.
LONGEST_ANSWER = 16 * 1024 * 1024

#: Seconds of a window: of each, the longest stall counts. A loop that stalls once a second stalls in one of ten.
WINDOW = 0.1


class Stall(NamedTuple):
    """The loop was to wake at `due`, and did at `woke`, on the clock of ``time.perf_counter()``."""

    due: float
    woke: float
    waited: float  #: seconds for which its thread could have run, and another did

    def less(self, stood: Stood) -> float:
        """Seconds, without what others were given or the machine stood still, whichever is more: they may be one."""
        return max(0.0, self.woke - self.due - max(self.waited, stood.during(self.due, self.woke)))


class Monitor:
    """How late the running loop is. Starts at once."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self.take()
        self._look()

    def take(self) -> list[list[Stall]]:
        """The stalls of each window since the last call."""
        windows: list[list[Stall]] = getattr(self, "_windows", [])
        self._windows = [[]]
        self._due, self._waited = time.perf_counter(), self._ready_and_waiting()
        self._window_ends = self._due + WINDOW
        return windows

    def _ready_and_waiting(self) -> float:
        """Seconds for which this thread could have run, and another did."""
        return int(os.pread(self._schedstat, 100, 0).split()[1]) / 1e9

    def _look(self) -> None:
        now = time.perf_counter()
        if now >= self._window_ends:
            self._windows.append([])
            self._window_ends = now + WINDOW
        if now - self._due > NOTICED:
            waited = self._ready_and_waiting()
            self._windows[-1].append(Stall(self._due, now, waited - self._waited))
            self._waited = waited
        self._due = now + TICK
        self._loop.call_later(TICK, self._look)


def resident() -> int:
    """Bytes of memory that this process has for itself."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def _inside(root: Path, config: dict[str, Any]) -> None:
    """Serve, and answer the questions that come as lines."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settle_memory()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    monitor = Monitor()
    async with serving(root, config=config) as server:
        print(json.dumps(server.port), flush=True)
        while question := await reader.readline():
            match question.split():
                case [b"stalls"]:
                    answer: Any = monitor.take()
                case [b"memory"]:
                    answer = resident()
                case [b"tidy"]:
                    await server.storage.tidy()
                    answer = None
                case [b"block", seconds]:
                    time.sleep(float(seconds))  # noqa: ASYNC251 - this is what it is for
                    answer = None
                case _:
                    raise AssertionError(question)
            print(json.dumps(answer), flush=True)


@dataclass
class Apart:
    """The process, seen from outside. `started`: the stalls of its start."""

    process: asyncio.subprocess.Process
    port: int = 0
    started: list[list[Stall]] = field(default_factory=list)

    async def stalls(self) -> list[list[Stall]]:
        """The stalls of each window since the last call."""
        return [[Stall(*each) for each in window] for window in await self._ask("stalls")]

    async def memory(self) -> int:
        """Bytes that the process has, after it has collected its garbage."""
        return await self._ask("memory")

    def open_files(self, directory: Path) -> int:
        """How many files of `directory` the process holds open, whether they have a name or not."""
        count = 0
        for each in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                count += os.readlink(each).startswith(f"{directory}/")
        return count

    async def tidy(self) -> None:
        """Sweep and count now, as it does every few minutes."""
        await self._ask("tidy")

    async def block(self, seconds: float) -> None:
        """Do what the loop must never do, so that a test sees that it would be seen."""
        await self._ask(f"block {seconds}")

    async def _ask(self, question: str) -> Any:
        self.process.stdin.write(question.encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        line = await asyncio.wait_for(self.process.stdout.readline(), 6 * PATIENCE)
        assert line, "the server has died"
        return json.loads(line)


@asynccontextmanager
async def apart(root: Path, **config: Any) -> AsyncIterator[Apart]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, str(root), json.dumps(config)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_ANSWER,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    try:
        server = Apart(process)
        server.port = await server.answer()
        server.started = await server.stalls()
        yield server
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(_inside(Path(sys.argv[1]), json.loads(sys.argv[2])))
