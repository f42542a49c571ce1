"""A job: one transfer under one UUID, from its first request to its outcome.

Rules of this room:

- Transitions are synchronous, decided before any I/O, and the impossible ones raise.
- A job knows neither HTTP nor files: names are labels to it, bytes are counts.
- A job and the task now attached to it are two things: a resumable upload is one job over many tasks. `stop` writes the
  cause on the job before it cancels the task, so that whoever catches the cancellation knows whose it was.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from headgate.errors import AlreadyFinished, HeadgateError, JobStopped, Superseded, Terminated
from headgate.jobs.rates.gate import Gate
from headgate.jobs.rates.meter import Meter
from headgate.jobs.states import Kind, State, check_transition

__all__ = ["Job"]


class Job:
    """One transfer. Made by ``Jobs.run()`` or ``Jobs.lease()``; changed only through the methods below.

    `unattended`: called when somebody stops the job while no task is attached to it. A job that has it outlives its
    tasks.
    """

    __slots__ = (
        "_began",
        "_changed",
        "_decided_at",
        "_meter",
        "_over",
        "_task",
        "_unattended",
        "_waiting",
        "bytes_total",
        "cancels",
        "cause",
        "committed",
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

    def __init__(
        self,
        id: UUID,  # noqa: A002 - the word that clients see
        kind: Kind,
        *,
        owner: str,
        names: tuple[str, ...] = (),
        bytes_total: int | None = None,
        changed: "Callable[[Job], None] | None" = None,
        unattended: "Callable[[], None] | None" = None,
    ) -> None:
        self.id = id
        self.id_text = str(id)
        self.kind = kind
        self.owner = owner
        self.names = list(names)
        #: Bytes that the job will have moved when it is done; None where nobody knows.
        self.bytes_total = bytes_total
        self.state = State.RUNNING if unattended is None else State.INTERRUPTED
        #: What every chunk passes.
        self.gate = Gate()
        #: Why the job is being stopped; None while nobody stops it, and again when it is over: an exception that was
        #: raised holds on to all that its frames held.
        self.cause: JobStopped | None = None
        #: A stable code that says why the job was interrupted, or did not complete; None when it did.
        self.reason: str | None = None
        #: The user who terminated the job.
        self.ended_by: str | None = None
        self.created_at = self._decided_at = datetime.now(UTC)
        self._began = time.monotonic()
        self.ended_at: datetime | None = None
        self._changed = changed
        self._unattended = unattended
        self._task: asyncio.Task[object] | None = None
        self.cancels = 0  #: how often the attached task was cancelled by us
        #: Every byte is there: a task that is to publish it comes, even while the table is about to close.
        self.committed = False
        self._over = False
        self._waiting: list[asyncio.Future[None]] | None = None  # for its end; most jobs have nobody who does
        self._meter = Meter(self._began)

    # Progress: the hot path. One call a chunk.

    def advance(self, size: int) -> None:
        """Count `size` more bytes moved."""
        self._meter.add(size, time.monotonic())

    def reset(self, total: int) -> None:
        """`total` bytes have moved in all: some of them before, or fewer than were counted."""
        self._meter.total = total

    @property
    def bytes_done(self) -> int:
        return self._meter.total

    @property
    def updated_at(self) -> datetime:
        """When a byte last moved or the state last changed."""
        moved_at = self.created_at + timedelta(seconds=self._meter.last - self._began)
        return max(moved_at, self._decided_at) if self.ended_at is None else self.ended_at

    @property
    def rate(self) -> float:
        """Bytes per second, now."""
        moves = self.state in (State.RUNNING, State.FINISHING)
        return self._meter.rate(time.monotonic()) if moves else 0.0

    @property
    def limit(self) -> int | None:
        """Bytes per second that somebody allows it; None where nobody set a limit."""
        return self.gate.rate

    # Tasks come and go.

    def attach(self, task: "asyncio.Task[object]") -> None:
        """From now on, stopping the job cancels `task`. Another one must have left."""
        assert self._task is None
        self._task, self.cancels = task, 0

    def detach(self) -> None:
        self._task = None

    @property
    def task(self) -> "asyncio.Task[object] | None":
        return self._task

    @property
    def outlives(self) -> bool:
        """Does the job outlive its tasks?"""
        return self._unattended is not None

    def check(self) -> None:
        """Raise the cause if somebody stopped the job. For loops around code that may swallow a cancellation."""
        if self.cause is not None:
            raise self.cause

    def finish(self) -> None:
        """Pass the point of no return. Raises the cause if somebody stopped the job first (G2).

        A paused job cannot: wait for ``gate.opened()`` right before.
        """
        self.check()
        self._to(State.FINISHING)

    def complete(self) -> None:
        self.reason = None
        self._to(State.COMPLETED)

    def pause(self) -> None:
        """Hold the job's bytes until it is resumed. Raises AlreadyFinished past the point of no return."""
        self._changeable()
        if self.state is not State.PAUSED:
            self.gate.pause()
            self._to(State.PAUSED)

    def resume(self) -> None:
        """Let a paused job go on. Raises AlreadyFinished past the point of no return."""
        self._changeable()
        if self.state is State.PAUSED:
            self._meter.restart(time.monotonic())
            self._to(State.INTERRUPTED if self.outlives and self._task is None else State.RUNNING)
            self.gate.resume()

    def go_on(self) -> None:
        """Bytes are coming again. One that is paused stays so."""
        if self.state is State.INTERRUPTED:
            self.reason = None
            self._meter.restart(time.monotonic())
            self._to(State.RUNNING)

    def interrupt(self, reason: str | None) -> None:
        """The task has left the job to another, because of `reason`. One that is paused stays so."""
        self.reason = reason or self.reason
        if self.state in (State.RUNNING, State.FINISHING):
            self._to(State.INTERRUPTED)

    def narrow(self, rate: int | None) -> None:
        """Let `rate` bytes per second pass, from now on; None: as many as come. Raises AlreadyFinished."""
        self._changeable()
        if rate != self.limit:
            self.gate.narrow(rate)
            self._tell()

    def _changeable(self) -> None:
        if not self.state.stoppable:
            raise AlreadyFinished(f"The job has already finished: it is {self.state}.")
        if self._is_ending:
            raise AlreadyFinished("The job is being stopped.")

    @property
    def _is_ending(self) -> bool:
        return self.cause is not None and (self.cause.final or not self.outlives)

    def stop(self, cause: JobStopped) -> None:
        """Decide that the job ends, and tell its task. The first cause stays, unless only this one is for good.

        A job that outlives its tasks ends only because of a cause that is for good; any other ends its task. It is over
        only when `wait_ended` returns. Raises AlreadyFinished past the point of no return.
        """
        if not self.state.stoppable:
            raise AlreadyFinished(f"The job has already finished: it is {self.state}.")
        if self._is_ending or (self.cause is not None and not cause.final):
            return
        self.cause = cause
        if self._task is not None:
            self.cancels += 1
            self._task.cancel()
        elif self._unattended is not None:
            self._unattended()

    def retract(self, refusal: HeadgateError) -> None:
        """The job cannot be ended, because of `refusal`: it goes on. Whoever waits for its end now learns that."""
        self.cause = None if self._task is None else Superseded()
        waiting, self._waiting = self._waiting, None
        for each in waiting or ():
            if not each.done():
                each.set_exception(refusal)
                each.exception()  # looked at, so that asyncio does not log it: its waiter may have been cancelled

    def completed_elsewhere(self, name: str, size: int) -> None:
        """Another process has completed the job, as `name`, of `size` bytes: nobody has ended it here (G2)."""
        cause = self.cause
        self.retract(AlreadyFinished())
        if cause is None:  # its task finds out by itself
            self.cause = None
        if self.state is State.PAUSED:
            self.gate.resume()
        self.names[:] = [name]
        self.reset(size)
        self.reason = None
        for state in (State.RUNNING, State.FINISHING, State.COMPLETED):
            if self.state is not state:
                self._to(state)

    def stopped(self) -> None:
        """The task has ended because of the cause: record the outcome."""
        assert self.cause is not None
        self.reason, self.ended_by = self.cause.code, self.cause.by
        self._to(State.TERMINATED if isinstance(self.cause, Terminated) else State.FAILED)

    def failed(self, error: BaseException) -> None:
        """The task has ended with `error`: record the outcome. A cancellation that is not ours is for whoever knows its
        origin to name beforehand in `reason`."""
        if isinstance(error, asyncio.CancelledError):
            self.reason = self.reason or "cancelled"
        else:
            self.reason = error.code if isinstance(error, HeadgateError) else HeadgateError.code
        self._to(State.FAILED)

    def _to(self, state: State) -> None:
        check_transition(self.state, state)
        self.state = state
        self._decided_at = datetime.now(UTC)
        if state.ended:
            self.ended_at = self._decided_at
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed(self)

    def close(self) -> None:
        """Everything of the job is gone: wake those who wait for its end."""
        self._over = True
        waiting, self._waiting = self._waiting, None
        for each in waiting or ():
            if not each.done():
                each.set_result(None)

    def ending(self) -> "asyncio.Future[None]":
        """Done when the job is over and everything of it is gone (G1); fails with what stands against that, if it is
        refused to end from now on. It is its caller's alone."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._over:
            waiter.set_result(None)
        else:
            waiting = [each for each in self._waiting or () if not each.done()]  # others may have been cancelled
            self._waiting = [*waiting, waiter]
        return waiter

    async def wait_ended(self) -> None:
        """Wait for `ending`. Raises what stands against it."""
        await self.ending()
