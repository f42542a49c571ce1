"""The long versions of the harnesses: what headgate promises under crash, load, faults and malice, in figures.

``make soak`` runs all of it, in less than half an hour on two cores, and prints a table; a goal that is missed makes it
fail. ``make soak ARGS="--only kills --scale 0.1 --seed 7"`` runs a tenth of a part, with the dice of an earlier run.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults.aborts import many_aborts
from faults.attacks import ATTACKS
from faults.disk import every_fault
from faults.kills import kill_and_restart
from faults.kills_resumable import kill_and_resume
from faults.memory import slow_uploads
from faults.races import race_exports, race_track, race_uploads
from faults.scenarios import SCENARIOS
from faults.stalls import MIB, StallResult, busy, crowded, saturated, terminating, watched
from fuzz.bombard import PATIENT, bombard
from support import serving

#: Seconds of loop stall, and bytes of memory, that are the goal.
STALL = 0.010
EACH = 24_000

#: So many sentences of what went wrong say it all.
MOST = 20


@dataclass
class Row:
    """One line of the table."""

    figure: str
    measured: str
    goal: str
    reached: bool
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"| {self.figure} | {self.goal} | {self.measured} | {'yes' if self.reached else '**no**'} |"


@dataclass
class Soak:
    """Where it takes place, how much of it, and with which dice."""

    directory: Path
    scale: float
    seed: int

    def times(self, number: int) -> int:
        return max(1, round(number * self.scale))

    @contextlib.contextmanager
    def root(self) -> Iterator[Path]:
        """A fresh one each time."""
        path = Path(tempfile.mkdtemp(dir=self.directory))
        try:
            yield path / "root"
        finally:
            shutil.rmtree(path)


async def kills(soak: Soak) -> AsyncIterator[Row]:
    count = soak.times(1000)
    with soak.root() as root:
        result = await kill_and_restart(root, rounds=count, seed=soak.seed)
    measured = f"{result.kills:,} / {result.lost} / {result.partial + result.left}"
    yield Row(
        "kills -9 at random points / acknowledged files lost / partials left after restart",
        f"{measured} ({result.acknowledged:,} acknowledged)",
        f"{count:,} / 0 / 0",
        result.kills == count and not result.failures,
        result.failures,
    )


async def resumed(soak: Soak) -> AsyncIterator[Row]:
    count = soak.times(500)
    with soak.root() as root:
        result = await kill_and_resume(root, rounds=count, seed=soak.seed)
    yield Row(
        "kills -9 in the middle of resumable appends / offsets that are not those of the bytes",
        f"{result.amid:,} / {len(result.failures)} ({result.finished:,} finished)",
        f"{count:,} / 0",
        result.amid == count and not result.failures,
        result.failures,
    )


async def races(soak: Soak) -> AsyncIterator[Row]:
    count = soak.times(2500)
    results = []
    for regime in (False, True):
        with soak.root() as root:
            async with race_track(root, handler_cancellation=regime) as server:
                results.append(await race_uploads(server, rounds=count, seed=soak.seed))
                export = "stored" if regime else "generated"
                results.append(await race_exports(server, export, rounds=count, seed=soak.seed))
    total, one = sum(result.races for result in results), sum(result.one for result in results)
    won = sum(number for result in results for (_, status), number in result.outcomes.items() if status == 200)
    failures = [failure for result in results for failure in result.failures]
    yield Row(
        "terminate-against-publish races / with exactly one outcome",
        f"{total:,} / {one:,} ({won:,} won by terminate)",
        f"{4 * count:,} / all",
        total == one == 4 * count and not failures,
        failures,
    )


async def inputs(soak: Soak) -> AsyncIterator[Row]:
    count = soak.times(50_000)
    results = []
    for regime in (False, True):
        with soak.root() as root:
            async with serving(root, handler_cancellation=regime, config=PATIENT) as server:
                results.append(await bombard(server, count=count, seed=soak.seed + regime))
    total, errors, hangs = (
        sum(getattr(result, name) for result in results) for name in ("inputs", "server_errors", "hangs")
    )
    failures = [failure for result in results for failure in result.failures]
    accepted = sum(result.statuses[201] + result.statuses[200] for result in results)
    yield Row(
        "bad inputs / 5xx / hangs over the timeout",
        f"{total:,} / {errors} / {hangs} ({accepted:,} were good after all)",
        f"{2 * count:,} / 0 / 0",
        total == 2 * count and not (errors or hangs or failures),
        failures,
    )


async def aborts(soak: Soak) -> AsyncIterator[Row]:
    count = soak.times(5000)
    total, left, failures = 0, [0, 0, 0, 0], []
    for regime in (False, True):
        with soak.root() as root:
            result = await many_aborts(root, count=count, seed=soak.seed, handler_cancellation=regime)
        total += result.aborts.total()
        above = (result.descriptors, result.tasks, result.staged, result.quota)
        left = [a + b for a, b in zip(left, above, strict=True)]
        failures += result.failures
    yield Row(
        "aborts of every kind / file descriptors, tasks, staged files, quota above baseline afterwards",
        f"{total:,} / {', '.join(map(str, left))}",
        f"{2 * count:,} / 0",
        total == 2 * count and not (any(left) or failures),
        failures,
    )


async def faults(soak: Soak) -> AsyncIterator[Row]:
    injected, failures = 0, []
    for name in SCENARIOS:
        with soak.root() as root:
            result = await every_fault(root, name, each=soak.scale >= 1)
        injected += result.injected
        failures += result.failures
    yield Row(
        "injected storage faults, at every call / jobs that ended without a clear error, or left something",
        f"{injected:,} / {len(failures)}",
        "all / 0",
        injected > 0 and not failures,
        failures,
    )


def _stall(situation: str, result: StallResult) -> Row:
    milliseconds = f"p99 {result.percentile() * 1000:.1f} ms, longest {result.longest * 1000:.1f} ms"
    return Row(
        f"longest loop stall in each tenth of a second, while {situation}",
        f"{milliseconds} of {len(result.stalls)} ({result.notes})",
        f"p99 <= {STALL * 1000:.0f} ms",
        result.percentile() <= STALL,
    )


async def stalls(soak: Soak) -> AsyncIterator[Row]:
    with soak.root() as root:
        result = await terminating(root, uploads=max(2, soak.times(16)), size=max(MIB, round(1024 * soak.scale) * MIB))
        yield _stall("large partials are terminated", result)
    with soak.root() as root:
        result = await saturated(root, seconds=max(2, 60 * soak.scale))
        yield _stall("the disk is saturated", result)
    with soak.root() as root:
        result = await crowded(root, files=soak.times(100_000), rounds=soak.times(10))
        yield _stall("the directory is crowded", result)
    with soak.root() as root:
        result = await busy(root, uploads=soak.times(1000), rounds=soak.times(50))
        yield _stall("very many jobs are listed and terminated", result)
    with soak.root() as root:
        result = await watched(root, watchers=soak.times(1000), uploads=4, seconds=max(2, 20 * soak.scale))
        yield _stall("very many watch", result)


async def memory(soak: Soak) -> AsyncIterator[Row]:
    count = max(500, soak.times(5000))
    with soak.root() as root:
        result = await slow_uploads(root, count=count)
    yield Row(
        f"memory per slow upload at {count:,}",
        f"{result.each / 1000:.1f} KB",
        f"<= {EACH // 1000} KB",
        result.each <= EACH,
    )


async def attacks(soak: Soak) -> AsyncIterator[Row]:
    for attack in ATTACKS.values():
        with soak.root() as root:
            done = await attack(root, soak.scale)
        yield Row(done.figure, done.measured, done.goal, done.reached(), done.failures)


PARTS: dict[str, Callable[[Soak], AsyncIterator[Row]]] = {
    each.__name__: each for each in (kills, resumed, races, inputs, aborts, faults, attacks, stalls, memory)
}


async def run(soak: Soak, names: list[str]) -> list[Row]:
    """Run the parts `names`, telling how it goes, and return their rows."""
    rows = []
    for name in names:
        began = time.monotonic()
        async for row in PARTS[name](soak):
            rows.append(row)
            print(f"{name}: {row.measured}, goal {row.goal}, after {time.monotonic() - began:.0f} s", flush=True)
            for failure in row.failures[:MOST]:
                print(f"    {failure}", flush=True)
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts")
    parser.add_argument("--scale", type=float, default=1.0, help="so much of each")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="the dice of an earlier run")
    parser.add_argument("--directory", type=Path, help="where the roots lie: on the file system that is meant")
    options = parser.parse_args(arguments)
    # The harnesses look at what is logged where it must be nothing; the rest is what they provoke.
    logging.basicConfig(handlers=[logging.NullHandler()])
    print(f"seed {options.seed}, Python {sys.version.split()[0]}, {os.cpu_count()} processors", flush=True)
    began = time.monotonic()
    rows = asyncio.run(run(Soak(options.directory, options.scale, options.seed), options.only))
    print(f"\nafter {(time.monotonic() - began) / 60:.1f} minutes:\n")
    print("| figure | goal | measured | reached |", "|---|---|---|---|", *rows, sep="\n")
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
