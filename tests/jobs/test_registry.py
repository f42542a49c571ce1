"""run() and terminate: who was cancelled, and what remains afterwards."""

import asyncio
import contextlib
from uuid import uuid4

import pytest

from headgate.errors import (
    AlreadyFinished,
    JobIdTaken,
    ShuttingDown,
    StillEnding,
    StorageFull,
    Terminated,
)
from headgate.jobs import Actor, JobRegistry, Kind, State


class Running:
    """A job whose task waits until it is told to go on."""

    def __init__(self, jobs: JobRegistry, *, owner: str = "alice", cleanup=None, finish: bool = False) -> None:
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.cleanup = cleanup
        self.finish = finish
        self.task = asyncio.create_task(self._run(jobs, owner))

    async def _run(self, jobs, owner):
        async with jobs.run(Kind.UPLOAD, owner=owner) as self.job:
            if self.finish:
                self.job.finish()
            self.began.set()
            try:
                await self.go.wait()
            finally:
                if self.cleanup is not None:
                    await self.cleanup()
        return "went on"

    async def ready(self) -> "Running":
        await self.began.wait()
        return self


@pytest.fixture
def jobs() -> JobRegistry:
    return JobRegistry()


async def test_a_job_is_live_while_it_runs_and_remembered_afterwards(jobs):
    running = await Running(jobs).ready()
    assert jobs.live() == [running.job]
    running.go.set()
    await running.task
    assert jobs.live() == []
    assert jobs.get(running.job.id) == running.job.info()
    assert running.job.state is State.COMPLETED
    assert running.job.reason is None


async def test_terminate_raises_the_cause_in_place_of_the_cancellation(jobs):
    """The job's task ends with Terminated, is not left cancelled, and may go on to answer its client."""
    running = await Running(jobs).ready()
    assert await jobs.terminate(running.job, by=Actor("root")) == [running.job.info()]
    with pytest.raises(Terminated):
        await running.task
    assert running.task.cancelling() == 0
    assert (running.job.state, running.job.ended_by) == (State.TERMINATED, "root")


async def test_terminate_returns_only_when_everything_of_the_job_is_gone(jobs):
    """What the job does to clean up is done before the terminate call goes on (G1)."""
    cleaned = asyncio.Event()
    may_clean = asyncio.Event()

    async def cleanup():
        await may_clean.wait()
        cleaned.set()

    running = await Running(jobs, cleanup=cleanup).ready()
    terminate = asyncio.create_task(jobs.terminate(running.job, by=Actor("alice")))
    await asyncio.wait([terminate], timeout=0.05)
    assert not terminate.done()
    assert jobs.live() == [running.job]
    may_clean.set()
    await terminate
    assert cleaned.is_set()
    assert jobs.live() == []


async def test_a_foreign_cancellation_stays_one(jobs):
    """A disconnect or a shutdown is not mistaken for a terminate, and is recorded as what it was."""
    running = await Running(jobs).ready()
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    assert (running.job.state, running.job.reason, running.job.ended_by) == (State.FAILED, "cancelled", None)


async def test_terminate_and_disconnect_together_leave_the_disconnect_standing(jobs):
    """The job is terminated, as the terminate call was told; the task stays cancelled, as aiohttp expects."""
    running = await Running(jobs).ready()
    terminate = asyncio.create_task(jobs.terminate(running.job, by=Actor("alice")))
    await asyncio.sleep(0)  # the terminate has told the job; its task has not run yet
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    await terminate
    assert running.job.state is State.TERMINATED


async def test_whoever_waits_for_a_terminate_is_not_cancelled_by_it(jobs):
    """Nor does the waiter's own cancellation change what becomes of the job."""
    running = await Running(jobs).ready()
    terminate = asyncio.create_task(jobs.terminate(running.job, by=Actor("alice")))
    await asyncio.sleep(0)
    terminate.cancel()
    with pytest.raises(asyncio.CancelledError):
        await terminate
    with pytest.raises(Terminated):
        await running.task


async def test_past_the_point_of_no_return_terminate_is_refused_and_the_job_completes(jobs):
    running = await Running(jobs, finish=True).ready()
    with pytest.raises(AlreadyFinished):
        await jobs.terminate(running.job, by=Actor("alice"))
    running.go.set()
    assert await running.task == "went on"
    assert running.job.state is State.COMPLETED
    with pytest.raises(AlreadyFinished):
        await jobs.terminate(running.job, by=Actor("alice"))


async def test_terminating_many_stops_those_that_can_be(jobs):
    """All are told before any is waited for; those that finish are left alone."""
    stoppable = [await Running(jobs).ready() for _ in range(3)]
    finishing = await Running(jobs, finish=True).ready()
    stopped = await jobs.terminate(*(one.job for one in stoppable), finishing.job, by=Actor("alice"))
    assert stopped == [one.job.info() for one in stoppable]
    for one in stoppable:
        with pytest.raises(Terminated):
            await one.task
    finishing.go.set()
    await finishing.task


async def test_terminated_twice_at_once_both_wait_for_the_one_end(jobs):
    running = await Running(jobs).ready()
    await asyncio.gather(jobs.terminate(running.job, by=Actor("alice")), jobs.terminate(running.job, by=Actor("root")))
    assert running.job.ended_by == "alice"
    with pytest.raises(Terminated):
        await running.task


async def test_a_task_that_swallows_its_cancellation_cannot_complete(jobs):
    """The cause is met at the latest where the job would be over (G2)."""
    began = asyncio.Event()

    async def stubborn():
        async with jobs.run(Kind.EXPORT, owner="alice") as job:
            began.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
        return job

    task = asyncio.create_task(stubborn())
    await began.wait()
    await jobs.terminate(*jobs.live(), by=Actor("alice"))
    with pytest.raises(Terminated):
        await task
    assert jobs.ended()[0].state is State.TERMINATED


async def test_an_error_on_the_way_out_does_not_hide_that_the_job_was_terminated(jobs):
    async def cleanup():
        raise ValueError("the transaction could not be rolled back")

    running = await Running(jobs, cleanup=cleanup).ready()
    await jobs.terminate(running.job, by=Actor("alice"))
    with pytest.raises(Terminated) as caught:
        await running.task
    assert isinstance(caught.value.__cause__, ValueError)
    assert running.task.cancelling() == 0


async def test_an_error_fails_the_job_with_its_code(jobs):
    with pytest.raises(StorageFull):
        async with jobs.run(Kind.UPLOAD, owner="alice") as job:
            raise StorageFull
    assert (job.state, job.reason) == (State.FAILED, "storage-full")
    with pytest.raises(ZeroDivisionError):
        async with jobs.run(Kind.UPLOAD, owner="alice") as job:
            raise ZeroDivisionError
    assert (job.state, job.reason) == (State.FAILED, "internal-error")


async def test_code_that_holds_up_the_end_does_not_hold_up_the_caller_for_ever():
    """StillEnding after the timeout; the job ends as terminated whenever it does."""
    jobs = JobRegistry(terminate_timeout=0.01)
    may_end = asyncio.Event()
    running = await Running(jobs, cleanup=may_end.wait).ready()
    with pytest.raises(StillEnding):
        await jobs.terminate(running.job, by=Actor("alice"))
    may_end.set()
    with pytest.raises(Terminated):
        await running.task
    assert running.job.state is State.TERMINATED


async def test_an_owner_uses_an_id_once(jobs):
    """Neither a live job's nor a remembered one's may be taken again, and the first is not disturbed."""
    id_ = uuid4()
    async with jobs.run(Kind.UPLOAD, owner="alice", id=id_) as job:
        with pytest.raises(JobIdTaken):
            async with jobs.run(Kind.UPLOAD, owner="alice", id=id_):
                pytest.fail("entered")
        assert jobs.get_live(id_) is job
    with pytest.raises(JobIdTaken):
        async with jobs.run(Kind.UPLOAD, owner="alice", id=id_):
            pytest.fail("entered")


async def test_two_owners_who_choose_one_id_know_nothing_of_each_other(jobs):
    """Each has a job of their own by it, live and remembered (G6)."""
    id_ = uuid4()
    async with jobs.run(Kind.UPLOAD, owner="alice", id=id_) as alices:
        async with jobs.run(Kind.EXPORT, owner="bob", id=id_) as bobs:
            assert (jobs.get_live(id_, "alice"), jobs.get_live(id_, "bob"), jobs.get_live(id_, "carol")) == (
                alices,
                bobs,
                None,
            )
        assert (jobs.live("alice"), jobs.live("bob"), jobs.ended("bob")) == ([alices], [], [bobs.info()])
    assert (jobs.get(id_, "alice"), jobs.get(id_, "bob")) == (alices.info(), bobs.info())


async def test_one_owners_many_jobs_do_not_have_anothers_forgotten():
    """The bound is for all owners together; the owner with the most jobs loses the oldest of them."""
    jobs = JobRegistry(ended_jobs=3)
    async with jobs.run(Kind.UPLOAD, owner="bob") as bobs:
        pass
    for _ in range(5):
        async with jobs.run(Kind.UPLOAD, owner="alice"):
            pass
    assert len(jobs.ended()) == 3
    assert jobs.get(bobs.id, "bob") == bobs.info()


async def test_a_watcher_that_fails_breaks_no_transition(jobs, caplog):
    """It is logged; the job goes on, and others are told."""
    told = []
    jobs.listen(lambda job, by: 1 / 0)
    jobs.listen(lambda job, by: told.append(job.state))
    async with jobs.run(Kind.UPLOAD, owner="alice") as job:
        job.finish()
    assert job.state is State.COMPLETED
    assert told == [State.RUNNING, State.FINISHING, State.COMPLETED]
    assert "ZeroDivisionError" in caplog.text


async def test_the_memory_of_ended_jobs_is_bounded():
    jobs = JobRegistry(ended_jobs=3)
    ids = []
    for _ in range(5):
        async with jobs.run(Kind.UPLOAD, owner="alice") as job:
            ids.append(job.id)
    assert [job.id for job in jobs.ended()] == ids[:1:-1]


async def test_shutdown_ends_what_runs_and_takes_nothing_new(jobs):
    """Running jobs fail because of the shutdown; finishing ones complete; it returns when all have ended."""
    running = await Running(jobs).ready()
    finishing = await Running(jobs, finish=True).ready()
    shutdown = asyncio.create_task(jobs.shut_down())
    with pytest.raises(ShuttingDown):
        await running.task
    assert (running.job.state, running.job.reason) == (State.FAILED, "shutdown")
    assert not shutdown.done()
    with pytest.raises(ShuttingDown):
        async with jobs.run(Kind.UPLOAD, owner="alice"):
            pytest.fail("entered")
    finishing.go.set()
    await shutdown
    assert finishing.job.state is State.COMPLETED


@pytest.mark.parametrize("end", ["resumed", "terminated", "cancelled"])
async def test_a_job_that_is_left_while_paused_ends_when_it_is_let_go(jobs, end):
    """Or terminated, or cancelled; and is what it is then."""
    running = await Running(jobs).ready()
    job = running.job
    job.pause()
    running.go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert jobs.live() == [job]
    if end == "resumed":
        job.resume()
        assert await running.task == "went on"
        assert job.state is State.COMPLETED
    elif end == "terminated":
        await jobs.terminate(job, by=Actor("alice"))
        with pytest.raises(Terminated):
            await running.task
        assert job.state is State.TERMINATED
    else:
        running.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running.task
        assert (job.state, job.reason) == (State.FAILED, "cancelled")
    assert jobs.live() == []


async def test_a_cancellation_from_before_the_job_does_not_hide_its_cause(jobs):
    """Who swallowed one earlier is still told why the job ended; the old one stays counted."""
    began = asyncio.Event()

    async def hardened():
        asyncio.current_task().cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        async with jobs.run(Kind.UPLOAD, owner="alice"):
            began.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(hardened())
    await began.wait()
    await jobs.terminate(*jobs.live(), by=Actor("alice"))
    with pytest.raises(Terminated):
        await task
    assert task.cancelling() == 1
