"""What shows only in a server that is alive: how soon a transfer is gone, what it costs while it waits, how the loop
keeps its turns, how soon a server is there."""

import asyncio
import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.clock import peak_memory, reset_peak, resident
from bench.load import MIB, Failed, Sink, connect, exchange, request
from bench.servers import Missing, Running, serving
from faults.apart import apart
from faults.machine import machine
from faults.memory import hold_uploads, raise_descriptor_limit, slow_uploads
from faults.stalls import StallResult

__all__ = ["LIVE", "Measured"]

#: That one slow upload takes in the server, and some to spare.
DESCRIPTORS = 2.1

#: Bytes of the upload after which memory must be what it was.
HUGE = 20 * 1024 * MIB

#: Transfers that are held must not be stopped for it.
PATIENT = {"max_jobs": 20_000, "max_jobs_per_owner": 20_000, "idle_timeout": 600.0, "min_rate": 0}


@dataclass(frozen=True)
class Measured:
    """A line of the table; `reached` is None where there is no goal."""

    figure: str
    measured: str
    goal: str = ""
    reached: bool | None = None


def terminate(directory: Path) -> Iterator[Measured]:
    for live, goal in ((1000, 0.005), (4000, 0.010)):
        with TemporaryDirectory(dir=directory) as where:
            times = sorted(asyncio.run(_terminated(Path(where) / "root", live)))
        median, p99 = statistics.median(times), times[int(len(times) * 0.99)]
        yield Measured(
            f"terminate one of {live:,} live uploads, until 200 has arrived and the name is gone",
            f"median {median * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms, longest {times[-1] * 1000:.1f} ms",
            f"p99 <= {goal * 1000:.0f} ms",
            p99 <= goal,
        )


async def _terminated(root: Path, live: int, times: int = 1000) -> list[float]:
    raise_descriptor_limit()
    taken = []
    async with apart(root, **PATIENT) as server, AsyncExitStack() as stack:
        await hold_uploads(stack, server.port, root, live)
        staging = root / ".staging"
        with connect(server.port) as sock:
            sink = Sink(sock)
            for name in os.listdir(staging)[:times]:
                head = request("DELETE", f"/jobs/{name.split('.')[0]}")
                began = time.perf_counter()
                sock.sendall(head)
                status, _, _ = sink.answer()
                taken.append(time.perf_counter() - began)
                if status != 200 or (staging / name).exists():
                    raise Failed(f"{name} is still there; status {status}")
    return taken


def memory(directory: Path) -> Iterator[Measured]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allowed = int(most / DESCRIPTORS) // 100 * 100
    for count in sorted({min(wanted, allowed) for wanted in (1000, 5000, 10_000)}):
        with TemporaryDirectory(dir=directory) as where:
            result = asyncio.run(slow_uploads(Path(where) / "root", count=count))
        figure, each = f"memory per slow upload, of {count:,}", result.each / 1000
        yield Measured(figure, f"{each:.1f} KB", "<= 24 KB", each <= 24)


def huge(directory: Path) -> Iterator[Measured]:
    size = min(HUGE, os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize // 2)
    with serving("headgate", directory) as server:
        at_most = [_at_most(server, each) for each in (512 * MIB, size)]
    more = (at_most[1] - at_most[0]) / 1e6
    figure = f"memory at most during an upload of {size / 1e9:.0f} GB, beside one of 0.5 GB before it"
    yield Measured(figure, f"{more:+.1f} MB ({at_most[1] / 1e6:.0f} MB)", "flat (<= 1 MB)", more <= 1)


def _at_most(server: Running, size: int) -> int:
    """Bytes of memory that the server has at most while it takes so many in."""
    reset_peak(server.pid)
    exchange(server.port, request("PUT", f"/files/{size}", {"Content-Length": size}), size)
    return peak_memory(server.pid)


def stalls(directory: Path) -> Iterator[Measured]:
    with TemporaryDirectory(dir=directory) as where:
        result = asyncio.run(_stalls(Path(where) / "root"))
    yield Measured(
        "longest loop stall in each tenth of a second, with 8 uploads at full speed",
        f"p99 {result.percentile() * 1000:.1f} ms, longest {result.longest * 1000:.1f} ms ({result.notes})",
    )


async def _stalls(root: Path, uploads: int = 8, size: int = 512 * MIB) -> StallResult:
    async with machine() as stood, apart(root, **PATIENT) as server:
        await server.stalls()
        heads = [request("PUT", f"/files/{number}", {"Content-Length": size}) for number in range(uploads)]
        await asyncio.gather(*(asyncio.to_thread(exchange, server.port, head, size) for head in heads))
        windows = await server.stalls()
    return StallResult.of(windows, stood, f"{uploads} of {size // MIB} MiB")


def start(directory: Path) -> Iterator[Measured]:
    for name in ("headgate", "nginx", "Starlette", "@tus/server"):
        times, held = [], 0
        try:
            for _ in range(5):
                began = time.perf_counter()
                with serving(name, directory) as server:
                    times.append(time.perf_counter() - began)
                    time.sleep(0.5)
                    held = resident(server.pid)
        except Missing as missing:
            yield Measured(f"start of {name}", str(missing))
            continue
        median = statistics.median(times) * 1000
        yield Measured(f"start of {name}, until it listens; memory when idle", f"{median:.0f} ms; {held / 1e6:.0f} MB")


LIVE: dict[str, Callable[[Path], Iterator[Measured]]] = {
    each.__name__: each for each in (terminate, memory, huge, stalls, start)
}
