"""Terminate against transfers that are about to complete: exactly one outcome each.

`race_uploads` and `race_exports` run so many on a server, many at once, so that they disturb each other's timing. How
to use them for another transfer: `_race` runs any coroutine against a terminate at a random moment of its job.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock
from uuid import UUID

import aiohttp

from headgate.jobs import State
from headgate.storage.local import local_storage
from support import FORM, Server, eventually, form, part, serving

AT_ONCE = 25

#: What is exported.
EXPORTED = random.Random(3).randbytes(300_000)


@dataclass
class RaceResult:
    """`outcomes`: what the transfer's client got, and what terminate answered. `one`: those with exactly one winner."""

    races: int = 0
    one: int = 0
    outcomes: Counter[tuple[object, int]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def judge(self, number: int, outcome: object, status: int, state: State, rules: dict[str, bool]) -> None:
        """One race is over; each of `rules` must hold."""
        self.races += 1
        self.outcomes[outcome, status] += 1
        self.one += all(rules.values())
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            self.failures.append(f"race {number}: {outcome} against {status}, {state}: not {', not '.join(broken)}")


@asynccontextmanager
async def race_track(root: Path, **serving_: object) -> AsyncIterator[Server]:
    """A server for races: it has both exports, and remembers every job."""

    async def rows() -> AsyncIterator[bytes]:
        for start in range(0, len(EXPORTED), 30_000):
            await asyncio.sleep(0.001)
            yield EXPORTED[start : start + 30_000]

    # Of the uploads, some are staged and some kept in memory, though all are short enough to be many.
    with mock.patch.object(local_storage, "SMALL_FILE_BYTES", 32 * 1024):
        async with serving(root, config={"ended_jobs": 100_000}, exports={"generated": rows}, **serving_) as server:
            (root / "stored").write_bytes(EXPORTED)
            yield server


async def _the_moment(server: Server, id_: UUID, size: int, moment: random.Random) -> None:
    """Wait for a random point of the transfer: at once, somewhere on its way, or when its last byte has moved; and then
    for a random number of the loop's turns. Machines are fast and slow; how far a job is does not depend on that."""
    moved = moment.choice([None, 1, size // 2, size, size])
    if moved is not None:

        def there() -> bool:
            job = server.jobs.get(id_)
            return job is not None and (job.bytes_done >= moved or job.state.ended)

        await eventually(there, f"{moved} bytes of {id_}")
    for _ in range(moment.randrange(30)):
        await asyncio.sleep(0)


async def _race(
    server: Server, id_: UUID, size: int, transfer: Awaitable[object], moment: random.Random
) -> tuple[object, int, State]:
    """Run `transfer` of `size` bytes and terminate it at some moment; return both outcomes and the job's state."""

    async def terminate() -> int:
        await _the_moment(server, id_, size, moment)
        async with server.client.delete(f"{server.url}/jobs/{id_}") as response:
            return response.status

    outcome, status = await asyncio.gather(transfer, terminate())
    return outcome, status, server.jobs.get(id_).state


async def _many(rounds: int, one: Callable[[int], Awaitable[None]]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def held(number: int) -> None:
        async with gate:
            await one(number)

    await asyncio.gather(*(held(number) for number in range(rounds)))


async def race_uploads(server: Server, *, rounds: int, seed: int = 1) -> RaceResult:
    """Terminated: 200, the uploader has 409, there is no file. Completed: the uploader has 201, the file is whole, and
    terminate has 409; or 404, when it came before the upload was there."""
    dice = random.Random(f"uploads {seed}")
    result = RaceResult()

    async def one(number: int) -> None:
        id_ = UUID(int=dice.getrandbits(128), version=4)
        name, data = str(id_), dice.randbytes(9) * dice.choice((1000, 5000))  # kept in memory, and staged

        async def upload() -> int:
            async with server.client.post(
                f"{server.url}/upload", data=form(part(name, data)), headers=FORM | {"Job-Id": str(id_)}
            ) as response:
                return response.status

        uploaded, terminated, state = await _race(server, id_, len(data), upload(), dice)
        path = server.root / name
        published = path.read_bytes() if path.exists() else None
        rules = {
            "terminated and refused": terminated != 200 or (uploaded, state) == (409, State.TERMINATED),
            "terminated and gone": terminated != 200 or published is None,
            "refused and completed": terminated == 200 or (uploaded, state) == (201, State.COMPLETED),
            "completed and whole": terminated == 200 or published == data,
            "a clear answer": terminated in (200, 404, 409),
        }
        result.judge(number, uploaded, terminated, state, rules)
        path.unlink(missing_ok=True)

    await _many(rounds, one)
    result.failures += [f"left staged: {name}" for name in server.staged()]
    return result


async def race_exports(server: Server, name: str, *, rounds: int, seed: int = 1) -> RaceResult:
    """Terminated: 200, and the client has a refusal or a truncated body. Completed: the client has every byte, and
    terminate has 409, or 404 when it came too early."""
    dice = random.Random(f"exports of {name} {seed}")
    result = RaceResult()

    async def one(number: int) -> None:
        id_ = UUID(int=dice.getrandbits(128), version=4)

        async def export() -> object:
            try:
                async with server.client.post(
                    f"{server.url}/export", json={"filename": name}, headers={"Job-Id": str(id_)}
                ) as response:
                    body = await response.read()
            except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
                return "truncated"
            return "whole" if response.status == 200 and body == EXPORTED else response.status

        exported, terminated, state = await _race(server, id_, len(EXPORTED), export(), dice)
        rules = {
            "terminated and cut": terminated != 200 or (exported in ("truncated", 409) and state is State.TERMINATED),
            "completed and whole": terminated == 200 or (exported, state) == ("whole", State.COMPLETED),
            "a clear answer": terminated in (200, 404, 409),
        }
        result.judge(number, exported, terminated, state, rules)

    await _many(rounds, one)
    return result
