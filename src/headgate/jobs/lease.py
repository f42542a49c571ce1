"""How the tasks of a resumable upload follow each other on its job.

A `Lease` goes with a `ResumableJob`. A request attaches to it (``async with lease.attach() as job:``). If another task
is attached, that one is told to stop, and hands the job on when it has left.

Rules of this file:

- One task is attached, or none. Of several that wait only the newest gets the job.
- Handing on is synchronous: at every moment a stop either finds an attached task or calls `on_stop_unattended`.
- Only a final cause ends the job; any other ends the task that it meets.
- The active slot is handed on with the job.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from headgate.errors import AlreadyFinished, JobStopped, ServerError, ShuttingDown, Superseded, UploadLocked
from headgate.jobs.resumable_job import ResumableJob
from headgate.jobs.run import Run
from headgate.jobs.slots import Admission
from headgate.jobs.states import State
from headgate.lowlevel.cancellation import uninterrupted

__all__ = ["Attachment", "Lease"]


class Leave(Protocol):
    """Has the registry let go of `job`; `idle`: it has no active slot."""

    def __call__(self, job: ResumableJob, /, *, idle: bool) -> None: ...


async def _nothing_to_discard() -> None:
    pass


class Lease:
    """The right to run `job`. `leave`: has the registry let go of it. `is_closing`: does the registry take no more
    jobs? `admission`: gives the active slots."""

    __slots__ = ("_admission", "_is_active", "_is_closing", "_leave", "_next", "discard", "job")

    def __init__(
        self, job: ResumableJob, *, leave: Leave, is_closing: Callable[[], bool], admission: Admission
    ) -> None:
        self.job = job
        self._leave = leave
        self._is_closing = is_closing
        self._admission = admission
        self._is_active = False
        #: Removes all that the upload has, before its job ends for good. Raises UploadLocked if another process has the
        #: upload, so that the job goes on; AlreadyFinished if the upload has turned out to be complete.
        self.discard: Callable[[], Awaitable[None]] = _nothing_to_discard
        self._next: tuple[asyncio.Task[object], asyncio.Future[None]] | None = None

    def attach(self) -> "Attachment":
        """A context manager: the job, run by the current task."""
        return Attachment(self)

    def end(self) -> None:
        """No task is attached and nothing of the upload is left: its job has ended because of its cause."""
        self.job.record_stop()
        self.job.cause = None
        self.release()

    def release(self) -> None:
        """Hand the job on to the task that waits for it, if one does; let go of it if it has ended, or goes on after a
        restart."""
        waiting, self._next = self._next, None
        if self.job.state.ended or (self._is_closing() and not self.job.all_received):
            active, self._is_active = self._is_active, False
            self._leave(self.job, idle=not active)
            if waiting is not None and not waiting[1].done():
                waiting[1].set_exception(AlreadyFinished() if self.job.state.ended else ShuttingDown())
        elif waiting is not None and not waiting[1].done() and self._is_active:
            self.job.attach(waiting[0])  # it may have been cancelled, and not know yet: see `Attachment`
            waiting[1].set_result(None)
        elif self._is_active:
            self._is_active = False
            self._admission.deactivate()

    async def take(self, task: "asyncio.Task[object]") -> None:
        """Attach `task` to the job, when the task that is attached now has left. See `Attachment`."""
        while self._is_free():
            self._check()
            await self._admission.activate()
            try:
                self._check()
            except BaseException:
                self._admission.deactivate()
                raise
            if self._is_free():
                self.job.attach(task)
                self._is_active = True
                return
            self._admission.deactivate()  # another task was faster
        self._check()
        older, turn = self._next, asyncio.get_running_loop().create_future()
        self._next = task, turn
        if older is not None and not older[1].done():
            older[1].set_exception(Superseded())
        self.job.stop(Superseded())
        try:
            await turn
        except asyncio.CancelledError:
            if self._next is not None and self._next[1] is turn:
                self._next = None
            if not turn.cancelled():
                turn.exception()  # retrieved, so that asyncio does not log it
            raise

    def _is_free(self) -> bool:
        return self.job.task is None

    def _check(self) -> None:
        if self._is_closing() and not self.job.all_received:
            raise ShuttingDown
        if not self.job.state.stoppable or self.job.is_ending:
            raise AlreadyFinished


class Attachment(Run[ResumableJob]):
    """The job of `lease`, run by the current task.

    Entering waits until the task that was attached before has left. Raises Superseded if a newer task comes meanwhile,
    AlreadyFinished if the job has ended, or will, ShuttingDown, and Busy. On exit the job has ended if it was
    completed, stopped for good, or `gives_up` was set and the block raised; otherwise it is handed on, or interrupted.
    Leaving raises the job's cause in place of the CancelledError.
    """

    __slots__ = ("_discarded", "_lease", "gives_up")

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease.job, lambda _, task: lease.take(task), lambda _: lease.release())
        self._lease = lease
        self._discarded = False
        #: Set before an error leaves the block: the error ends the job, and no later request may go on with it.
        self.gives_up = False

    async def __aenter__(self) -> ResumableJob:
        try:
            return await super().__aenter__()
        except asyncio.CancelledError as error:
            if self._job.task is not self._task:
                raise
            await self._end(error)  # the job was handed to this task just before it was cancelled
            raise

    async def _end(self, exc: BaseException | None) -> None:
        """As `Run` does; but a job that ends for good is discarded first, whenever its end is decided."""
        job, seen = self._job, -1
        while job.cancels != seen or (self._ends(exc) and not self._discarded):
            seen = job.cancels
            if self._ends(exc) and not self._discarded:
                self._discarded = True
                try:
                    await uninterrupted(self._lease.discard())
                except UploadLocked as error:
                    job.cancel_stop(error)
                except AlreadyFinished:
                    pass
            if job.cause is not None:  # our cancellation may not have been delivered yet
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
        self._conclude(exc)

    def _ends(self, exc: BaseException | None) -> bool:
        job = self._job
        if job.state.ended or not (job.state.stoppable or self.gives_up):
            return False
        return job.is_ending or (exc is not None and self.gives_up)

    def _record(self, exc: BaseException | None) -> None:
        job = self._job
        if job.state.ended or (job.state is State.FINISHING and (exc is None or self.gives_up)):
            super()._record(exc)
        elif job.is_ending:
            job.record_stop()
        elif exc is not None and self.gives_up:
            job.record_failure(exc)
        else:
            why = job.cause or exc
            job.interrupt(why.code if isinstance(why, JobStopped | ServerError) else None)
