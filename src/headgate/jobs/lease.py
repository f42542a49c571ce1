"""A job that outlives the tasks that hold it, one after the other: a resumable upload.

Rules of this room:

- One task holds the job, or none does. Whoever comes takes it over: the holder is told to stop, and hands the job on
  when it has left; of several that wait only the newest gets it.
- Handing on is synchronous: there is no moment at which the job has been given and nobody can be told to stop.
- Only a cause that is for good ends the job; any other ends the task that it meets.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from headgate.errors import AlreadyFinished, JobStopped, ServerError, ShuttingDown, Superseded, UploadLocked
from headgate.jobs.job import Job
from headgate.jobs.run import Run
from headgate.jobs.slots import Slots
from headgate.jobs.states import State
from headgate.lowlevel.cancellation import uninterrupted

__all__ = ["Hold", "Lease"]


async def _nothing() -> None:
    """There is nothing to remove."""


class Lease:
    """`job`, and who holds it. `leave`: the table lets go of the job. `closing`: is the table about to close?"""

    __slots__ = ("_closing", "_leave", "_next", "_places", "discard", "job")

    def __init__(
        self,
        job: Job,
        *,
        leave: Callable[[Job], None],
        closing: Callable[[], bool],
        places: Slots,
    ) -> None:
        self.job = job
        self._leave = leave
        self._closing = closing
        self._places = places
        places.idle.add(job)
        #: Removes all that the job has, before it ends for good. Raises UploadLocked if that cannot be, and the job
        #: goes on; AlreadyFinished if the job has turned out to be complete.
        self.discard: Callable[[], Awaitable[None]] = _nothing
        self._next: tuple[asyncio.Task[object], asyncio.Future[None]] | None = None

    def hold(self) -> "Hold":
        """A context manager: the job, held by the current task. See `Hold`."""
        return Hold(self)

    def end(self) -> None:
        """Nobody holds the job and nothing of it is left: it has ended because of what stopped it."""
        self.job.stopped()
        self.job.cause = None
        self.release()

    def release(self) -> None:
        """Hand the job on, to whoever waits for it; let go of it if it has ended."""
        waiting, self._next = self._next, None
        self._places.idle.add(self.job)
        if self.job.state.ended or (self._closing() and not self.job.committed):
            self._places.idle.discard(self.job)
            self._leave(self.job)
            if waiting is not None and not waiting[1].done():
                waiting[1].set_exception(AlreadyFinished() if self.job.state.ended else ShuttingDown())
        elif waiting is not None and not waiting[1].done():  # it may have been cancelled, and not know it yet
            self._attach(waiting[0])
            waiting[1].set_result(None)

    def _attach(self, task: "asyncio.Task[object]") -> None:
        self.job.attach(task)
        self._places.idle.discard(self.job)

    async def take(self, task: "asyncio.Task[object]") -> None:
        """Have `task` hold the job, when whoever holds it now has left."""
        job = self.job
        if self._closing() and not job.committed:
            raise ShuttingDown
        if not job.state.stoppable or (job.cause is not None and job.cause.final):
            raise AlreadyFinished
        if job.task is None:
            self._places.admit()
            self._attach(task)
            return
        older, turn = self._next, asyncio.get_running_loop().create_future()
        self._next = task, turn
        if older is not None and not older[1].done():
            older[1].set_exception(Superseded())
        job.stop(Superseded())
        try:
            await turn
        except asyncio.CancelledError:
            if self._next is not None and self._next[1] is turn:
                self._next = None
            if not turn.cancelled():
                turn.exception()  # looked at, so that asyncio does not log it
            raise


class Hold(Run):
    """The job of `lease`, held by the current task.

    Entering waits until whoever held it before has left. Raises Superseded if a newer one comes meanwhile,
    AlreadyFinished if the job has ended, or will, and ShuttingDown. On exit the job has ended if it was completed,
    stopped for good, or `given_up`; otherwise it is handed on, or interrupted. Leaving raises the job's cause in place
    of the CancelledError.
    """

    __slots__ = ("_discarded", "_lease", "given_up")

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease.job, lambda _: None, lambda _: lease.release())
        self._lease = lease
        self._discarded = False
        #: Nobody is to take the job up again.
        self.given_up = False

    async def __aenter__(self) -> Job:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        try:
            await self._lease.take(task)
        except asyncio.CancelledError as error:
            if self._job.task is not task:
                raise
            await self._over(error)  # it was given to us just before we were cancelled
            raise
        return self._job

    async def _over(self, exc: BaseException | None) -> None:
        """As a run; but what ends for good is gone before that is so, whenever it was decided."""
        job, seen = self._job, -1
        while job.cancels != seen or (self._ends(exc) and not self._discarded):
            seen = job.cancels
            if self._ends(exc) and not self._discarded:
                self._discarded = True
                try:
                    await uninterrupted(self._lease.discard())
                except UploadLocked as error:
                    job.retract(error)
                except AlreadyFinished:
                    pass
            if job.cause is not None:  # our cancellation may not have been delivered yet
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
        self._conclude(exc)

    def _ends(self, exc: BaseException | None) -> bool:
        job = self._job
        if job.state.ended or not (job.state.stoppable or self.given_up):
            return False
        return (job.cause is not None and job.cause.final) or (exc is not None and self.given_up)

    def _record(self, exc: BaseException | None) -> None:
        job = self._job
        if job.state.ended or (job.state is State.FINISHING and (exc is None or self.given_up)):
            super()._record(exc)
        elif job.cause is not None and job.cause.final:
            job.stopped()
        elif exc is not None and self.given_up:
            job.failed(exc)
        else:
            why = job.cause or exc
            job.interrupt(why.code if isinstance(why, JobStopped | ServerError) else None)
