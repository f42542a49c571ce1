"""A job that outlives its tasks: one holds it at a time, the newest gets it, and it ends for good or not at all."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest

from headgate.errors import (
    AlreadyFinished,
    Disconnected,
    HeadgateError,
    IdleTimeout,
    ShuttingDown,
    Superseded,
    Terminated,
)
from headgate.jobs import Actor, JobRegistry, Kind, State


class Leased:
    """A leased job, and tasks that hold it until they are told to go."""

    def __init__(self):
        self.jobs = JobRegistry()
        self.ended_alone = []

    async def begin(self):
        self.lease = await self.jobs.lease(
            Kind.UPLOAD,
            owner="alice",
            id=uuid4(),
            names=("a",),
            bytes_total=None,
            on_stop_unattended=self.end_alone,
        )
        self.job = self.lease.job
        return self

    def end_alone(self, job):
        self.ended_alone.append(job.cause)
        self.lease.end()

    def hold(self):
        """A task that holds the job, what it had, and how to let it go on."""
        held, go = asyncio.Event(), asyncio.Event()

        async def run():
            async with self.lease.attach() as job:
                job.restart()
                held.set()
                await go.wait()

        return asyncio.create_task(run()), held, go


@pytest.fixture
async def leased():
    return await Leased().begin()


async def outcome(task):
    """The error that `task` ended with, or None."""
    try:
        await task
    except (HeadgateError, asyncio.CancelledError) as error:
        return type(error)
    return None


async def test_it_is_interrupted_whenever_nobody_holds_it(leased):
    assert leased.job.state is State.INTERRUPTED
    task, held, go = leased.hold()
    await held.wait()
    assert leased.job.state is State.RUNNING
    go.set()
    await task
    assert (leased.job.state, leased.job.task) == (State.INTERRUPTED, None)
    assert leased.jobs.live() == [leased.job]


async def test_whoever_comes_takes_it_over(leased):
    """The holder is told; of several that wait, the newest gets it."""
    first, held, _ = leased.hold()
    await held.wait()
    second, _, _ = leased.hold()
    third, third_held, go = leased.hold()
    assert await outcome(first) is Superseded
    assert await outcome(second) is Superseded
    await third_held.wait()
    assert (leased.job.task, leased.job.cause) == (third, None)
    go.set()
    assert await outcome(third) is None


@pytest.mark.parametrize("cause", [IdleTimeout, Disconnected])
async def test_what_stops_a_task_does_not_end_the_job(leased, cause):
    task, held, _ = leased.hold()
    await held.wait()
    leased.job.stop(cause())
    assert await outcome(task) is cause
    assert (leased.job.state, leased.job.reason) == (State.INTERRUPTED, cause.code)


@pytest.mark.parametrize("first", [None, Superseded, IdleTimeout])
async def test_what_is_for_good_ends_it_whatever_was_said_before(leased, first):
    """The task ends, too; a task that waits for the lease learns that the job has ended."""
    task, held, _ = leased.hold()
    await held.wait()
    if first is not None:
        leased.job.stop(first())
    leased.job.stop(Terminated("alice"))
    waiting, _, _ = leased.hold()
    assert await outcome(waiting) is AlreadyFinished
    assert await outcome(task) is Terminated
    await leased.job.wait_ended()
    assert (leased.job.state, leased.job.ended_by) == (State.TERMINATED, "alice")
    assert leased.jobs.live() == []


async def test_terminated_while_nobody_holds_it_somebody_is_asked_to_end_it(leased):
    await leased.jobs.terminate(leased.job, by=Actor("alice"))
    assert [type(cause) for cause in leased.ended_alone] == [Terminated]
    assert leased.job.state is State.TERMINATED
    with pytest.raises(AlreadyFinished):
        await leased.jobs.terminate(leased.job, by=Actor("alice"))


async def test_a_cancellation_that_is_not_ours_stays_one(leased):
    """And leaves the job to others, at every moment: holding, waiting, and having just been given it."""
    task, held, _ = leased.hold()
    await held.wait()
    waiting, _, _ = leased.hold()
    await asyncio.sleep(0)
    waiting.cancel()
    assert await outcome(waiting) is asyncio.CancelledError
    assert await outcome(task) is Superseded
    assert leased.job.task is None
    task, held, _ = leased.hold()
    await held.wait()
    task.cancel()
    assert await outcome(task) is asyncio.CancelledError
    assert (leased.job.task, leased.job.state) == (None, State.INTERRUPTED)
    task, held, go = leased.hold()
    await held.wait()
    waiting, _, _ = leased.hold()
    await asyncio.sleep(0)
    assert await outcome(task) is Superseded
    assert leased.job.task is waiting
    waiting.cancel()  # it has been given the job, and does not know yet
    assert await outcome(waiting) is asyncio.CancelledError
    assert leased.job.task is None
    task, held, go = leased.hold()
    await held.wait()
    go.set()
    assert await outcome(task) is None


@pytest.mark.parametrize("held", [False, True])
async def test_a_shutdown_lets_go_of_it_and_does_not_end_it(leased, held):
    """Nobody waits for it; who comes later is told to come back."""
    task, is_held, _ = leased.hold() if held else (None, None, None)
    if held:
        await is_held.wait()
        assert leased.jobs.live() == [leased.job]
    shutting = asyncio.create_task(leased.jobs.shut_down())
    if held:
        assert await outcome(task) is ShuttingDown
    await shutting
    assert leased.jobs.live() == []
    assert leased.job.state is State.INTERRUPTED
    assert await outcome(leased.hold()[0]) is ShuttingDown


async def test_a_pause_outlives_its_tasks(leased):
    """It is paused with a task or without, and interrupted once it is resumed without one."""
    task, held, go = leased.hold()
    await held.wait()
    leased.job.pause()
    go.set()
    await task
    assert leased.job.state is State.PAUSED
    task, held, go = leased.hold()
    await held.wait()
    assert leased.job.state is State.PAUSED
    leased.job.resume()
    assert leased.job.state is State.RUNNING
    leased.job.pause()
    go.set()
    await task
    leased.job.resume()
    assert leased.job.state is State.INTERRUPTED


async def test_any_number_of_tasks_that_come_and_go_leave_it_as_it_was(leased):
    """However they are stopped; one at a time holds it."""
    holders = set()

    async def come(number):
        for turn in range(20):
            with suppress(HeadgateError):
                async with leased.lease.attach() as job:
                    holders.add(number)
                    assert len(holders) == 1
                    job.restart()
                    try:
                        if (number + turn) % 3:
                            await asyncio.sleep(0)
                    finally:
                        holders.discard(number)

    tasks = [asyncio.create_task(come(number)) for number in range(20)]
    for turn in range(50):
        await asyncio.sleep(0)
        if turn % 7 == 0 and leased.job.cause is None:
            leased.job.stop(IdleTimeout()) if leased.job.task else None
    await asyncio.gather(*tasks)
    assert (leased.job.task, leased.job.cause, leased.job.state) == (None, None, State.INTERRUPTED)
