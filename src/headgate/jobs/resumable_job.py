"""A job that goes on when its task has left: a resumable upload.

One task after the other is attached to it (`Lease`). Between them it is interrupted, or paused.

Rules of this file:

- Only a final cause (terminated, expired, abandoned) ends the job. Any other ends the task that is attached.
- A stop while no task is attached calls `on_stop_unattended`, which removes what the upload has, and then ends the job
  or takes the stop back (`cancel_stop`).
"""

import time
from collections.abc import Callable
from typing import Any

from headgate.errors import AlreadyFinished, HeadgateError, JobStopped, Superseded
from headgate.jobs.job import Job
from headgate.jobs.states import State

__all__ = ["ResumableJob"]


class ResumableJob(Job):
    """One resumable upload. Made by ``JobRegistry.lease()``, interrupted at first."""

    __slots__ = ("_on_stop_unattended", "all_received")

    is_resumable = True

    def __init__(self, *args: Any, on_stop_unattended: "Callable[[ResumableJob], None]", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.state = State.INTERRUPTED
        self._on_stop_unattended = on_stop_unattended
        #: Every byte is there: the task that is to publish the upload is admitted even while the server drains.
        self.all_received = False

    def restart(self) -> None:
        """Bytes come again. A paused job stays paused."""
        if self.state is State.INTERRUPTED:
            self.reason = None
            self._meter.restart(time.monotonic())
            self._set_state(State.RUNNING)

    def interrupt(self, reason: str | None) -> None:
        """The task leaves the job to another, because of `reason`, a stable code. A paused job stays paused."""
        self.reason = reason or self.reason
        if self.state in (State.RUNNING, State.FINISHING):
            self._set_state(State.INTERRUPTED)

    def stop(self, cause: JobStopped) -> None:
        """End the job if `cause` is final; otherwise only its task. A final cause takes the place of one that is not.

        Raises AlreadyFinished past the point of no return.
        """
        if not self.state.stoppable:
            raise AlreadyFinished(f"The job has already finished: it is {self.state}.")
        if self.is_ending or (self.cause is not None and not cause.final):
            return
        self.cause = cause
        if self._task is not None:
            self._cancel_task()
        else:
            self._on_stop_unattended(self)

    @property
    def is_ending(self) -> bool:
        return self.cause is not None and self.cause.final

    @property
    def _resumed_state(self) -> State:
        return State.INTERRUPTED if self._task is None else State.RUNNING

    def cancel_stop(self, stop_error: HeadgateError) -> None:
        """The job cannot be ended, because of `stop_error`, and goes on. Those who wait for its end are given that."""
        self.cause = None if self._task is None else Superseded()
        for waiter in self._take_waiters():
            waiter.set_exception(stop_error)
            waiter.exception()  # retrieved, so that asyncio does not log it if nobody awaits the waiter any more

    def completed_elsewhere(self, name: str, size: int) -> None:
        """Another process has completed the upload, as `name`, of `size` bytes: a stop comes too late (G2)."""
        cause = self.cause
        self.cancel_stop(AlreadyFinished())
        if cause is None:  # the attached task finds out by itself
            self.cause = None
        if self.state is State.PAUSED:
            self.gate.resume()
        self.names = (name,)
        self.set_done(size)
        self.reason = None
        for state in (State.RUNNING, State.FINISHING, State.COMPLETED):
            if self.state is not state:
                self._set_state(state)
