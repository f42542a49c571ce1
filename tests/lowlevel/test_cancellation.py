"""What asyncio lacks."""

import asyncio

import pytest

from headgate.lowlevel.cancellation import is_cancelled, uninterrupted


async def test_waits_to_the_end_although_cancelled_and_delivers_the_cancellation_afterwards():
    """What was begun is finished and its result told; the cancellation comes at the next await, once."""
    began, go = asyncio.Event(), asyncio.Event()
    told = []

    async def work():
        began.set()
        await go.wait()
        return "done"

    async def caller():
        told.append(await uninterrupted(work()))
        await asyncio.sleep(3600)

    task = asyncio.create_task(caller())
    await began.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert told == []
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == ["done"]


async def test_counts_each_cancellation_once():
    """A timeout around it still recognizes its own cancellation."""
    go = asyncio.Event()

    async def work():
        await go.wait()

    async def caller():
        async with asyncio.timeout(0):
            asyncio.get_running_loop().call_later(0.01, go.set)
            await uninterrupted(work())
            await asyncio.sleep(3600)

    task = asyncio.create_task(caller())
    with pytest.raises(TimeoutError):
        await task
    assert task.cancelling() == 0


async def test_passes_on_what_the_work_raises():
    async def work():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await uninterrupted(work())


async def test_tells_a_cancellation_of_ours_from_one_of_something_awaited():
    inner = asyncio.ensure_future(asyncio.sleep(3600))
    inner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await inner
    assert not is_cancelled()

    async def cancelled():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return is_cancelled()

    task = asyncio.create_task(cancelled())
    await asyncio.sleep(0)
    task.cancel()
    assert await task
