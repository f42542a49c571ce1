"""A job's states: every pair of them, and who may stop what."""

import asyncio
from uuid import uuid4

import pytest

from headgate.errors import AlreadyFinished, IdleTimeout, ShuttingDown, Terminated
from headgate.jobs.job import Job
from headgate.jobs.states import IllegalTransition, Kind, State

ALLOWED = {
    State.RUNNING: "paused interrupted finishing terminated failed",
    State.PAUSED: "running interrupted terminated failed",
    State.INTERRUPTED: "running paused terminated failed",
    State.FINISHING: "completed failed interrupted",
    State.COMPLETED: "",
    State.TERMINATED: "",
    State.FAILED: "",
}


def a_job(**kwargs) -> Job:
    return Job(uuid4(), Kind.UPLOAD, owner="alice", **kwargs)


@pytest.mark.parametrize("target", State)
@pytest.mark.parametrize("state", State)
def test_only_the_transitions_of_the_table_happen(state, target):
    """An impossible transition raises and changes nothing; a possible one is reported to the listeners."""
    told = []
    job = a_job(on_change=lambda job, by: told.append(job.state))
    job.state = state
    if target in ALLOWED[state].split():
        job._set_state(target)
        assert (job.state, told) == (target, [target])
        assert (job.ended_at is not None) == target.ended
    else:
        with pytest.raises(IllegalTransition):
            job._set_state(target)
        assert (job.state, told) == (state, [])


@pytest.mark.parametrize("state", State)
def test_a_job_can_be_stopped_exactly_until_its_point_of_no_return(state):
    """Before it the cause stands on the job; past it the job refuses, and nothing of it changes (G2)."""
    job = a_job()
    job.state = state
    if state in (State.RUNNING, State.PAUSED, State.INTERRUPTED):
        job.stop(Terminated("alice"))
        assert isinstance(job.cause, Terminated)
    else:
        with pytest.raises(AlreadyFinished):
            job.stop(Terminated("alice"))
        assert job.cause is None


def test_the_first_cause_stays():
    """Who terminates a job that is being terminated changes nothing about by whom it was."""
    job = a_job()
    job.stop(Terminated("alice"))
    job.stop(Terminated("root"))
    job.stop(IdleTimeout())
    job.record_stop()
    assert (job.state, job.ended_by, job.reason) == (State.TERMINATED, "alice", "terminated")


def test_a_stopped_job_cannot_finish():
    """A task that swallowed its cancellation meets the cause at the point of no return (G2)."""
    job = a_job()
    job.stop(Terminated("alice"))
    with pytest.raises(Terminated):
        job.finish()
    assert job.state is State.RUNNING


def test_a_job_stopped_by_nobody_has_failed():
    job = a_job()
    job.stop(ShuttingDown())
    job.record_stop()
    assert (job.state, job.ended_by, job.reason) == (State.FAILED, None, "shutdown")


async def test_stopping_cancels_the_attached_task_and_no_other():
    """A job and its task are two things: one that was detached is not touched."""
    job = a_job()
    old, new = (asyncio.create_task(asyncio.sleep(3600)) for _ in range(2))
    job.attach(old)
    job.detach()
    job.attach(new)
    job.stop(Terminated("alice"))
    with pytest.raises(asyncio.CancelledError):
        await new
    assert not old.cancelling()
    old.cancel()
