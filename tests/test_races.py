"""Terminate against transfers that are about to complete: a thousand of them, exactly one outcome each (G2)."""

import asyncio
import random
from uuid import UUID

import aiohttp
import pytest

from headgate.jobs import State
from support import FORM, eventually, form, part, serving

ROUNDS = 250  # of each kind, in each regime: 1,000 in all
AT_ONCE = 25


async def the_moment(server, id_, size, moment):
    """Wait for a random point of the transfer: at once, somewhere on its way, or when its last byte has moved; and then
    for a random number of the loop's turns. Machines are fast and slow; how far a job is does not depend on that."""
    moved = moment.choice([None, 1, size // 2, size, size])
    if moved is not None:

        def there():
            job = server.jobs.get(UUID(id_))
            return job is not None and (job.bytes_done >= moved or job.state.ended)

        await eventually(there, f"{moved} bytes of {id_}")
    for _ in range(moment.randrange(30)):
        await asyncio.sleep(0)


async def race(server, headers, size, transfer, moment):
    """Run `transfer` of `size` bytes and terminate it at some moment; return both outcomes and the job's state."""

    async def terminate():
        await the_moment(server, headers["Job-Id"], size, moment)
        async with server.client.delete(f"{server.url}/jobs/{headers['Job-Id']}") as response:
            return response.status

    outcome, status = await asyncio.gather(transfer(), terminate())
    return outcome, status, server.jobs.get(UUID(headers["Job-Id"])).state


async def rounds(one):
    """Many at once, so that they disturb each other's timing."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def held(number):
        async with gate:
            return await one(number)

    return await asyncio.gather(*(held(number) for number in range(ROUNDS)))


def job_id(number):
    return {"Job-Id": f"00000000-0000-4000-8000-{number:012x}"}


@pytest.mark.timeout(120)
async def test_an_upload_is_either_terminated_or_published(root, regime):
    """Terminated: 200, the uploader has 409, no file. Completed: the uploader has 201, the file is whole, terminate has
    409; or 404, when it came before the upload was there. Never both, never neither, and nothing staged."""
    moment = random.Random(1)
    async with serving(root, handler_cancellation=regime, config={"ended_jobs": ROUNDS}) as server:

        async def one(number):
            name, data = f"f{number}", b"%d" % number * 3000
            headers = FORM | job_id(number)

            async def upload():
                async with server.client.post(
                    server.url + "/upload", data=form(part(name, data)), headers=headers
                ) as response:
                    return response.status

            uploaded, terminated, state = await race(server, headers, len(data), upload, moment)
            return name, data, uploaded, terminated, state

        outcomes = await rounds(one)
        published = server.published()
        assert server.staged() == []
    seen = set()
    for name, data, uploaded, terminated, state in outcomes:
        seen.add((uploaded, terminated))
        if terminated == 200:
            assert (uploaded, state) == (409, State.TERMINATED)
            assert name not in published
        else:
            assert terminated in (404, 409)
            assert (uploaded, state) == (201, State.COMPLETED)
            assert published[name] == data
    assert {(409, 200), (201, 409)} <= seen, "the race must be close enough to be won by either"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["stored", "generated"])
async def test_an_export_is_either_terminated_or_whole(root, kind):
    """Terminated: 200, and the client has a refusal or a truncated body. Completed: the client has every byte, and
    terminate has 409, or 404 when it came too early."""
    moment = random.Random(2)
    data = random.Random(3).randbytes(300_000)

    async def rows():
        for start in range(0, len(data), 30_000):
            await asyncio.sleep(0.001)
            yield data[start : start + 30_000]

    config = {"ended_jobs": ROUNDS}
    async with serving(root, config=config, exports={"generated": rows}) as server:
        (root / "stored").write_bytes(data)

        async def one(number):
            headers = job_id(number)

            async def export():
                try:
                    async with server.client.post(
                        server.url + "/export", json={"filename": kind}, headers=headers
                    ) as response:
                        body = await response.read()
                except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
                    return "truncated"
                return "whole" if response.status == 200 and body == data else response.status

            return await race(server, headers, len(data), export, moment)

        outcomes = await rounds(one)
    seen = set()
    for exported, terminated, state in outcomes:
        seen.add((exported, terminated))
        if terminated == 200:
            assert exported in ("truncated", 409)
            assert state is State.TERMINATED
        else:
            assert terminated in (404, 409)
            assert (exported, state) == ("whole", State.COMPLETED)
    assert ("whole", 409) in seen
    assert kind == "stored" or ("truncated", 200) in seen
