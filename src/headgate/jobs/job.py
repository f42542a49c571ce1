"""A job: one transfer under one UUID, from its first request to its outcome.

Rules of this room:

- All transitions live here. They are synchronous, decided before any I/O, and the impossible ones raise.
- A job knows neither HTTP nor files: names are labels to it, bytes are counts.
- A job and the task now attached to it are two things: a resumable upload is one job over many tasks. `stop` writes the
  cause on the job before it cancels the task, so that whoever catches the cancellation knows whose it was.

::

    running ⇄ paused            held at the gate
       │ ⇅      │
       │ interrupted            a resumable upload without a request; its bytes are kept
       │
    finishing                   the point of no return: nobody can stop it any more (G2)
       │
    completed | failed          and from every state before finishing: terminated | failed
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from headgate.errors import AlreadyFinished, HeadgateError, JobStopped, Terminated
from headgate.jobs.gate import Gate
from headgate.jobs.meter import Meter

__all__ = ["IllegalTransition", "Job", "Kind", "State"]


class Kind(StrEnum):
    UPLOAD = "upload"  #: bytes in
    EXPORT = "export"  #: bytes out


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    FINISHING = "finishing"
    COMPLETED = "completed"
    TERMINATED = "terminated"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return not _NEXT[self]

    @property
    def stoppable(self) -> bool:
        """True before the point of no return."""
        return State.TERMINATED in _NEXT[self]


_NEXT: dict[State, frozenset[State]] = {
    State.RUNNING: frozenset({State.PAUSED, State.INTERRUPTED, State.FINISHING, State.TERMINATED, State.FAILED}),
    State.PAUSED: frozenset({State.RUNNING, State.INTERRUPTED, State.TERMINATED, State.FAILED}),
    State.INTERRUPTED: frozenset({State.RUNNING, State.FINISHING, State.TERMINATED, State.FAILED}),
    State.FINISHING: frozenset({State.COMPLETED, State.FAILED}),
    State.COMPLETED: frozenset(),
    State.TERMINATED: frozenset(),
    State.FAILED: frozenset(),
}


class IllegalTransition(RuntimeError):
    """A bug of ours: a transition that the table does not have."""


class Job:
    """One transfer. Made by ``Jobs.run()``; changed only through the methods below."""

    __slots__ = (
        "_began",
        "_changed",
        "_decided_at",
        "_ended",
        "_meter",
        "_over",
        "_task",
        "bytes_total",
        "cause",
        "created_at",
        "ended_at",
        "ended_by",
        "gate",
        "id",
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
    ) -> None:
        self.id = id
        self.kind = kind
        self.owner = owner
        self.names = list(names)
        #: Bytes that the job will have moved when it is done; None where nobody knows.
        self.bytes_total = bytes_total
        self.state = State.RUNNING
        #: What every chunk passes.
        self.gate = Gate()
        #: Why the job is being stopped; None while nobody stops it, and again when it is over: an exception that was
        #: raised holds on to all that its frames held.
        self.cause: JobStopped | None = None
        #: A stable code that says why the job did not complete; None when it did.
        self.reason: str | None = None
        #: The user who terminated the job.
        self.ended_by: str | None = None
        self.created_at = self._decided_at = datetime.now(UTC)
        self._began = time.monotonic()
        self.ended_at: datetime | None = None
        self._changed = changed
        self._task: asyncio.Task[object] | None = None
        self._over = False
        self._ended: asyncio.Event | None = None  # made for the first who waits: it is most of a job's own memory
        self._meter = Meter(self._began)

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.kind} {self.state}>"

    # Progress: the hot path. One call a chunk.

    def advance(self, size: int) -> None:
        """Count `size` more bytes moved."""
        self._meter.add(size, time.monotonic())

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
        return 0.0 if self.state.ended or self.state is State.PAUSED else self._meter.rate(time.monotonic())

    @property
    def limit(self) -> int | None:
        """Bytes per second that somebody allows it; None where nobody set a limit."""
        return self.gate.rate

    # Tasks come and go.

    def attach(self, task: "asyncio.Task[object]") -> None:
        """From now on, stopping the job cancels `task`."""
        assert self._task is None, "a newer request must end the older one first"
        self._task = task

    def detach(self) -> None:
        self._task = None

    # Transitions.

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
            self._to(State.RUNNING)
            self.gate.resume()

    def narrow(self, rate: int | None) -> None:
        """Let `rate` bytes per second pass, from now on; None: as many as come. Raises AlreadyFinished."""
        self._changeable()
        if rate != self.limit:
            self.gate.narrow(rate)
            self._tell()

    def _changeable(self) -> None:
        if not self.state.stoppable:
            raise AlreadyFinished(f"The job has already finished: it is {self.state}.")
        if self.cause is not None:
            raise AlreadyFinished("The job is being stopped.")

    def stop(self, cause: JobStopped) -> None:
        """Decide that the job ends, and tell its task. The first cause stays.

        The job is over only when `wait_ended` returns. Raises AlreadyFinished past the point of no return.
        """
        if not self.state.stoppable:
            raise AlreadyFinished(f"The job has already finished: it is {self.state}.")
        if self.cause is not None:
            return
        self.cause = cause
        if self._task is not None:
            self._task.cancel()

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
        if state not in _NEXT[self.state]:
            raise IllegalTransition(f"{self!r} cannot become {state}")
        self.state = state
        self._decided_at = datetime.now(UTC)
        if state.ended:
            self.ended_at = self._decided_at
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed(self)

    # The end.

    def close(self) -> None:
        """Everything of the job is gone: wake those who wait for its end."""
        self._over = True
        if self._ended is not None:
            self._ended.set()

    async def wait_ended(self) -> None:
        """Wait until the job is over and everything of it is gone (G1)."""
        if not self._over:
            self._ended = self._ended or asyncio.Event()
            await self._ended.wait()
