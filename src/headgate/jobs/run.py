"""Running a job by the current task: reads like ``asyncio.timeout()``.

``async with registry.run(...) as job:`` admits the job, attaches the current task, and, when the block is left, records
the outcome. A stop cancels the task; on the way out that cancellation becomes the job's cause.

Rules of this file:

- A cancellation becomes the job's cause only if `Job.stop` made it and no other is pending. That of a client's
  disconnect or of a shutdown stays a CancelledError.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, TypeVar

from headgate.jobs.job import Job
from headgate.jobs.states import State

__all__ = ["Run"]

J = TypeVar("J", bound=Job)


class Run(Generic[J]):
    """`job`, run by the current task. See ``JobRegistry.run()``.

    `begin` is awaited on entering: it attaches the task, or refuses the job. `leave` is called when the job is over.
    Leaving waits for nothing but a cancellation that has not been delivered yet, and for a pause to end.
    """

    __slots__ = ("_begin", "_cancelling", "_job", "_leave", "_task")

    def __init__(
        self,
        job: J,
        begin: "Callable[[J, asyncio.Task[object]], Awaitable[None]]",
        leave: Callable[[J], None],
    ) -> None:
        self._job = job
        self._begin = begin
        self._leave = leave

    async def __aenter__(self) -> J:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        await self._begin(self._job, task)
        return self._job

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._end(exc)

    async def _end(self, exc: BaseException | None) -> None:
        """Leave with `exc`, or with the job's cause in its place."""
        job = self._job
        if job.cause is not None and not isinstance(exc, asyncio.CancelledError):
            # Our cancellation was swallowed, became something else, or has not been delivered yet. It must come now: at
            # the handler's next await it would be taken for a disconnect, and the client would get no answer.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        late: asyncio.CancelledError | None = None
        if exc is None and job.state is State.PAUSED and job.cause is None:
            try:  # a paused job is not over before it is resumed
                await job.gate.opened()
            except asyncio.CancelledError as error:
                exc = late = error
        self._conclude(exc, late)

    def _conclude(self, exc: BaseException | None, late: asyncio.CancelledError | None = None) -> None:
        """Record the outcome and let go of the job, synchronously. Raises the cause, or `late`; returns if `exc` is to
        go on by itself."""
        job = self._job
        cancels = job.cancels
        job.detach()
        try:
            self._record(exc)
        finally:
            self._leave(job)
        cause, job.cause = job.cause, None
        if cause is None:
            if late is not None:
                raise late
            return
        if isinstance(exc, asyncio.CancelledError):
            exc.__traceback__ = None  # it refers to the frame that waited, and what was waited for refers back to it
        try:
            for _ in range(cancels):
                self._task.uncancel()
            if self._task.cancelling() <= self._cancelling:
                # No other cancellation is pending: whatever ours became on its way out, the job ended by its cause.
                raise cause from (None if exc is cause else exc)
            if not isinstance(exc, asyncio.CancelledError):
                raise asyncio.CancelledError from exc  # another's cancellation, which came with ours
        finally:
            # What is raised here refers to this frame: without a cycle, what a request holds is freed at once.
            del cause, exc, late

    def _record(self, exc: BaseException | None) -> None:
        job = self._job
        if job.state.ended:
            return
        if job.cause is not None:
            job.record_stop()
        elif exc is None:
            if job.state is not State.FINISHING:
                job.finish()
            job.complete()
        else:
            job.record_failure(exc)
