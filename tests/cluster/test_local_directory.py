"""The directory of one process: what handlers may ask of it, and what those who watch are told."""

import asyncio
from uuid import uuid4

import pytest

from headgate.cluster import LocalJobDirectory, Pause, Resume, SetRate, Terminate
from headgate.errors import AlreadyFinished, JobNotFound, Terminated
from headgate.events import EventBus, JobChanged, JobEnded, JobProgressed
from headgate.jobs import Actor, JobRegistry, Kind, State
from support import eventually

ROOT = Actor("root", "192.0.2.1")


class Transfer:
    """A job whose task waits until it is stopped, or told to go on."""

    def __init__(self, jobs: JobRegistry, *, owner: str = "alice", id_=None) -> None:
        self._entered, self.go = asyncio.Event(), asyncio.Event()
        self.task = asyncio.create_task(self._run(jobs, owner, id_))

    async def _run(self, jobs, owner, id_):
        async with jobs.run(Kind.UPLOAD, owner=owner, id=id_, address="192.0.2.7") as self.job:
            self._entered.set()
            await self.go.wait()

    async def entered(self) -> "Transfer":
        await self._entered.wait()
        return self


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


@pytest.fixture
def directory(bus) -> LocalJobDirectory:
    return LocalJobDirectory(JobRegistry(), bus)


async def test_a_command_answers_with_the_job_as_it_is_then(directory):
    """Pause, resume and a rate are carried out, in order, when the call returns; terminate when nothing is left."""
    transfer = await Transfer(directory.jobs).entered()
    id_ = transfer.job.id
    paused = await directory.command(id_, SetRate(1000), Pause(), owner="alice", by=ROOT)
    assert (paused.state, paused.limit) == (State.PAUSED, 1000)
    resumed = await directory.command(id_, Resume(), SetRate(None), owner="alice", by=ROOT)
    assert (resumed.state, resumed.limit) == (State.RUNNING, None)
    ended = await directory.command(id_, Terminate(), owner="alice", by=ROOT)
    assert (ended.state, ended.ended_by) == (State.TERMINATED, "root")
    with pytest.raises(Terminated):
        await transfer.task
    assert await directory.get(id_, "alice") == ended


async def test_every_change_has_its_actor(directory, bus):
    """A change has the user and the address of the request that began, paused, slowed or terminated it; else none."""
    told = []
    bus.listen(JobChanged, lambda event: told.append((event.job.state, event.by)))
    transfer = await Transfer(directory.jobs).entered()
    for command in (Pause(), Resume(), SetRate(5), Terminate()):
        await directory.command(transfer.job.id, command, owner="alice", by=ROOT)
    running, paused = State.RUNNING, State.PAUSED
    assert told == [
        (running, Actor("alice", "192.0.2.7")),
        (paused, ROOT),
        (running, ROOT),
        (running, ROOT),
        (State.TERMINATED, ROOT),
    ]
    other = await Transfer(directory.jobs).entered()
    other.go.set()
    await other.task
    assert told[-1] == (State.COMPLETED, None)
    with pytest.raises(Terminated):
        await transfer.task


async def test_a_job_is_found_by_its_id_and_its_owner(directory):
    """Another owner's job by the same id is another job (G6), and a command reaches the one that it names."""
    id_ = uuid4()
    alices = await Transfer(directory.jobs, id_=id_).entered()
    bobs = await Transfer(directory.jobs, owner="bob", id_=id_).entered()
    assert (await directory.get(id_, "bob")).owner == "bob"
    assert await directory.get(id_, "carol") is None
    with pytest.raises(JobNotFound):
        await directory.command(id_, Pause(), owner="carol", by=ROOT)
    await directory.command(id_, Terminate(), owner="bob", by=ROOT)
    with pytest.raises(Terminated):
        await bobs.task
    assert not alices.task.done()
    alices.go.set()
    await alices.task


async def test_a_command_to_a_job_that_has_ended_is_refused(directory):
    """By the state that it has: a job that completed is not said to be terminated (G2)."""
    transfer = await Transfer(directory.jobs).entered()
    transfer.go.set()
    await transfer.task
    for command in (Pause(), Resume(), SetRate(1), Terminate()):
        with pytest.raises(AlreadyFinished, match="completed"):
            await directory.command(transfer.job.id, command, owner="alice", by=ROOT)


async def test_jobs_are_listed_live_ones_first_the_newest_first(directory):
    """The jobs of one owner or of all, with the ended ones or without."""
    first = await Transfer(directory.jobs).entered()
    bobs = await Transfer(directory.jobs, owner="bob").entered()
    ended = await Transfer(directory.jobs).entered()
    ended.go.set()
    await ended.task
    ids = [transfer.job.id for transfer in (bobs, first, ended)]
    assert [job.id async for job in directory.list()] == ids
    assert [job.id async for job in directory.list(live_only=True)] == ids[:2]
    assert [job.id async for job in directory.list("alice")] == [first.job.id, ended.job.id]
    for transfer in (first, bobs):
        transfer.go.set()
        await transfer.task


async def test_many_are_terminated_at_once_and_only_those_that_stopped_are_named(directory):
    """One that is past its point of no return completes, and is not among them."""
    stopping = [await Transfer(directory.jobs).entered() for _ in range(12)]
    finishing = await Transfer(directory.jobs).entered()
    finishing.job.finish()
    stopped = await directory.terminate([job async for job in directory.list(live_only=True)], by=ROOT)
    assert {job.id for job in stopped} == {transfer.job.id for transfer in stopping}
    finishing.go.set()
    await finishing.task
    assert finishing.job.state is State.COMPLETED
    for transfer in stopping:
        with pytest.raises(Terminated):
            await transfer.task


async def test_a_watcher_is_told_of_its_owners_jobs_in_order(directory):
    """Every change, and progress in between, of that owner's jobs alone; nothing once it has stopped watching."""
    told, everybodys = [], []
    with directory.watch(told.append, "alice"), directory.watch(everybodys.append):
        transfer = await Transfer(directory.jobs).entered()
        bobs = await Transfer(directory.jobs, owner="bob").entered()
        transfer.job.advance(1000)
        await eventually(lambda: any(isinstance(event, JobProgressed) and event.jobs for event in told))
        transfer.go.set()
        await transfer.task
    progressed = next(event for event in told if isinstance(event, JobProgressed) and event.jobs)
    assert [job.bytes_done for job in progressed.jobs] == [1000]
    changes = [event.job.state for event in told if isinstance(event, JobChanged)]
    assert changes == [State.RUNNING, State.FINISHING, State.COMPLETED]
    assert {event.job.owner for event in everybodys if isinstance(event, JobChanged)} == {"alice", "bob"}
    before = len(told) + len(everybodys)
    bobs.go.set()
    await bobs.task
    assert len(told) + len(everybodys) == before


async def test_a_listener_or_watcher_that_fails_breaks_nothing(directory, bus, caplog):
    """Its error is logged, the job completes, and others are told."""
    ends = []
    bus.listen(JobEnded, lambda event: 1 / 0)
    bus.listen(JobEnded, lambda event: ends.append(event.job.state))
    with directory.watch(lambda event: 1 / 0, "alice"):
        transfer = await Transfer(directory.jobs).entered()
        transfer.go.set()
        await transfer.task
    assert ends == [State.COMPLETED]
    assert "ZeroDivisionError" in caplog.text


class SlowAdmission:
    """Admits a job when another node has answered: here, when the test says so."""

    def __init__(self) -> None:
        self.answered, self.asked, self.freed = asyncio.Event(), [], []

    def check(self, owner):
        pass

    async def admit(self, owner):
        self.asked.append(owner)
        await self.answered.wait()

    def free(self, owner, *, idle):
        self.freed.append(owner)


async def test_admission_is_awaited_before_a_job_begins():
    """Until then no list has the job; of two requests by one id only one begins, and the other gives its slot back."""
    admission, id_ = SlowAdmission(), uuid4()
    jobs = JobRegistry(admission=admission)
    both = [Transfer(jobs, id_=id_) for _ in range(2)]
    await eventually(lambda: len(admission.asked) == 2)
    assert jobs.live() == []
    admission.answered.set()
    await eventually(lambda: jobs.live() and admission.freed)
    assert len(jobs.live()) == 1
    for transfer in both:
        transfer.go.set()
    outcomes = await asyncio.gather(*(transfer.task for transfer in both), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["JobIdTaken", "NoneType"]
    assert admission.freed == ["alice", "alice"]


async def test_a_node_keeps_its_share_of_a_rate():
    """That of an owner and that of all; an owner without a live job is forgotten, and so is the share."""
    jobs = JobRegistry(owner_rate=1000, total_rate=10_000)
    async with jobs.run(Kind.UPLOAD, owner="alice") as job:
        jobs.rates.set_share(0.25, "alice")
        jobs.rates.set_share(0.5)
        assert sorted(throttle.rate for throttle, _ in job.gate._throttles) == [250, 5000]
    async with jobs.run(Kind.UPLOAD, owner="alice") as job:
        assert sorted(throttle.rate for throttle, _ in job.gate._throttles) == [1000, 5000]
