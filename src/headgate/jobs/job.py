"""A job: one transfer under one UUID, from its first request to its outcome.

A job counts bytes (`advance`), lets them pass or holds them (`gate`), and moves between the states of `states.py`. The
task that runs it is attached while it does. `stop` writes a cause on the job and cancels the task; `Run` turns that
cancellation back into the cause, and records the outcome.

Rules of this file:

- Transitions are synchronous and decided before any I/O. One that `states.py` does not have raises.
- A job knows neither HTTP nor files: names are labels, bytes are counts.
- The cause is written before the task is cancelled, so that the code that catches the cancellation knows its origin.
- Only the code that runs a job holds a `Job`. Everybody else sees a `JobInfo`, and sends commands.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Protocol
from uuid import UUID

from headgate.errors import AlreadyFinished, HeadgateError, JobStopped, Terminated
from headgate.jobs.info import Actor, JobInfo
from headgate.jobs.rates.gate import Gate
from headgate.jobs.rates.meter import Meter
from headgate.jobs.states import Kind, State, check_transition

__all__ = ["Job", "JobListener"]

_SNAPSHOT = attrgetter(*JobInfo._fields)


class JobListener(Protocol):
    """Is called when a job began, changed its state or its limit, or ended: synchronously, on the loop. `by`: the actor
    who asked for the change; None where the transfer itself made it."""

    def __call__(self, job: "Job", by: Actor | None, /) -> object: ...


class Job:
    """One transfer. Made by ``JobRegistry.run()``; changed only through the methods below."""

    __slots__ = (
        "_began",
        "_decided_at",
        "_final_info",
        "_meter",
        "_on_change",
        "_over",
        "_task",
        "_waiters",
        "address",
        "bytes_total",
        "cancels",
        "cause",
        "created_at",
        "ended_at",
        "ended_by",
        "gate",
        "id",
        "id_text",
        "kind",
        "names",
        "owner",
        "reason",
        "state",
    )

    #: True for a job that goes on when its task has left: `ResumableJob`.
    is_resumable = False
    #: True if a job that no task runs now has every byte, and is about to be published: `ResumableJob`.
    all_received = False

    def __init__(
        self,
        id: UUID,  # noqa: A002 - the word that clients see
        kind: Kind,
        *,
        owner: str,
        names: tuple[str, ...] = (),
        bytes_total: int | None = None,
        on_change: JobListener | None = None,
        address: str | None = None,
    ) -> None:
        self.id = id
        self.id_text = str(id)
        self.kind = kind
        self.owner = owner
        self.names = names
        self.address = address
        #: Bytes that the job will have moved when it is done; None where that is unknown.
        self.bytes_total = bytes_total
        self.state = State.RUNNING
        #: What every chunk passes.
        self.gate = Gate()
        #: Why the job is being stopped; None while it is not. Also None once the job has ended: an exception that
        #: was raised keeps alive all that its frames refer to.
        self.cause: JobStopped | None = None
        #: A stable code that says why the job was interrupted, or did not complete; None when it did.
        self.reason: str | None = None
        #: The user who terminated the job.
        self.ended_by: str | None = None
        self.created_at = self._decided_at = datetime.now(UTC)
        self._began = time.monotonic()
        self.ended_at: datetime | None = None
        self._on_change = on_change
        self._task: asyncio.Task[object] | None = None
        #: How often `stop` has cancelled the attached task.
        self.cancels = 0
        self._over = False
        self._waiters: list[asyncio.Future[None]] | None = None  # of its end; made when the first one waits
        self._meter = Meter(self._began)
        self._final_info: JobInfo | None = None

    # Progress: the hot path. One call a chunk.

    def advance(self, size: int) -> None:
        """Count `size` more bytes moved."""
        self._meter.add(size, time.monotonic())

    def set_done(self, total: int) -> None:
        """Set the bytes that have moved in all to `total`: some had moved before, or fewer stayed than were counted."""
        self._meter.total = total

    @property
    def bytes_done(self) -> int:
        """Bytes moved so far."""
        return self._meter.total

    @property
    def updated_at(self) -> datetime:
        """When a byte last moved or the state last changed."""
        moved_at = self.created_at + timedelta(seconds=self._meter.last - self._began)
        return max(moved_at, self._decided_at) if self.ended_at is None else self.ended_at

    @property
    def rate(self) -> float:
        """Bytes per second, measured."""
        moves = self.state in (State.RUNNING, State.FINISHING)
        return self._meter.rate(time.monotonic()) if moves else 0.0

    @property
    def limit(self) -> int | None:
        """Bytes per second that the job may move; None where it has no limit."""
        return self.gate.rate

    def info(self) -> JobInfo:
        """The job as it is now."""
        if self._final_info is not None:
            return self._final_info
        info = JobInfo(*_SNAPSHOT(self))
        if self.ended_at is not None:
            self._final_info = info
        return info

    # The task that runs the job.

    @property
    def task(self) -> "asyncio.Task[object] | None":
        """The task that runs the job now."""
        return self._task

    def attach(self, task: "asyncio.Task[object]") -> None:
        """Have `stop` cancel `task` from now on. No other task may be attached."""
        assert self._task is None
        self._task, self.cancels = task, 0

    def detach(self) -> None:
        """The attached task leaves."""
        self._task = None

    def check(self) -> None:
        """Raise the cause if the job is being stopped. For loops around code that may swallow a cancellation."""
        if self.cause is not None:
            raise self.cause

    def finish(self) -> None:
        """Pass the point of no return. Raises the cause if the job is being stopped (G2).

        A paused job cannot pass: await ``gate.opened()`` right before.
        """
        self.check()
        self._set_state(State.FINISHING)

    def complete(self) -> None:
        """Everything that the job was to do is done."""
        self.reason = None
        self._set_state(State.COMPLETED)

    # Commands. Each raises AlreadyFinished past the point of no return, or while the job is being stopped.

    def pause(self, by: Actor | None = None) -> None:
        """Let none of the job's bytes pass until it is resumed."""
        self._check_changeable()
        if self.state is not State.PAUSED:
            self.gate.pause()
            self._set_state(State.PAUSED, by)

    def resume(self, by: Actor | None = None) -> None:
        """Let the bytes of a paused job pass again."""
        self._check_changeable()
        if self.state is State.PAUSED:
            self._meter.restart(time.monotonic())
            self._set_state(self._resumed_state, by)
            self.gate.resume()

    def set_rate(self, rate: int | None, by: Actor | None = None) -> None:
        """Let at most `rate` bytes per second pass from now on; None: as many as come."""
        self._check_changeable()
        if rate != self.limit:
            self.gate.set_rate(rate)
            self._notify(by)

    def stop(self, cause: JobStopped) -> None:
        """Decide that the job ends because of `cause`, and cancel its task. The first cause stays.

        The job is over only when `wait_ended` returns.
        """
        if not self.state.stoppable:
            raise AlreadyFinished(f"The job has already finished: it is {self.state}.")
        if self.is_ending:
            return
        self.cause = cause
        self._cancel_task()

    @property
    def is_ending(self) -> bool:
        """True if the job will end, whatever else is asked of it."""
        return self.cause is not None

    @property
    def _resumed_state(self) -> State:
        return State.RUNNING

    def _check_changeable(self) -> None:
        if not self.state.stoppable:
            raise AlreadyFinished(f"The job has already finished: it is {self.state}.")
        if self.is_ending:
            raise AlreadyFinished("The job is being stopped.")

    def _cancel_task(self) -> None:
        if self._task is not None:
            self.cancels += 1
            self._task.cancel()

    # The outcome.

    def record_stop(self) -> None:
        """The task has left because of the cause: the job is terminated, or failed."""
        assert self.cause is not None
        self.reason, self.ended_by = self.cause.code, self.cause.by
        by = None if self.cause.by is None else Actor(self.cause.by, self.cause.address)
        self._set_state(State.TERMINATED if isinstance(self.cause, Terminated) else State.FAILED, by)

    def record_failure(self, error: BaseException) -> None:
        """The task has left with `error`: the job has failed. Code that knows where a CancelledError came from, which
        is none of the job's own, writes that into `reason` beforehand."""
        if isinstance(error, asyncio.CancelledError):
            self.reason = self.reason or "cancelled"
        else:
            self.reason = error.code if isinstance(error, HeadgateError) else HeadgateError.code
        self._set_state(State.FAILED)

    def _set_state(self, state: State, by: Actor | None = None) -> None:
        check_transition(self.state, state)
        self.state = state
        self._decided_at = datetime.now(UTC)
        if state.ended:
            self.ended_at = self._decided_at
        self._notify(by)

    def _notify(self, by: Actor | None) -> None:
        if self._on_change is not None:
            self._on_change(self, by)

    def close(self) -> None:
        """Nothing of the job is left: wake those who wait for its end."""
        self._over = True
        for waiter in self._take_waiters():
            waiter.set_result(None)

    def end_waiter(self) -> "asyncio.Future[None]":
        """A new future, which is done when the job is over and nothing of it is left (G1). It fails with the error of
        the storage if that cannot end the job. Its caller may cancel it."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._over:
            waiter.set_result(None)
        else:  # those that were cancelled go: a job can be waited for as often as it is asked for
            self._waiters = [*(each for each in self._waiters or () if not each.done()), waiter]
        return waiter

    async def wait_ended(self) -> None:
        """Wait until the job is over and nothing of it is left. Raises the error of a storage that cannot end it."""
        await self.end_waiter()

    def _take_waiters(self) -> "list[asyncio.Future[None]]":
        waiters, self._waiters = self._waiters, None
        return [waiter for waiter in waiters or () if not waiter.done()]
