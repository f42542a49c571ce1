"""Running a job: reads like ``asyncio.timeout()``.

Rules of this room:

- A cancellation becomes the job's cause only if it is ours and no other is pending. A client's disconnect or a shutdown
  stays a CancelledError. Know who was cancelled.
"""

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType

from headgate.jobs.job import Job
from headgate.jobs.states import State

__all__ = ["Run"]


class Run:
    """Run `job` by the current task, between `enter`, which may refuse it, and `leave`, when it is over.

    See ``Jobs.run()``. Entering never awaits; leaving does only to let a late cancellation come.
    """

    __slots__ = ("_cancelling", "_enter", "_job", "_leave", "_task")

    def __init__(self, job: Job, enter: Callable[[Job], None], leave: Callable[[Job], None]) -> None:
        self._job = job
        self._enter = enter
        self._leave = leave

    async def __aenter__(self) -> Job:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._enter(self._job)
        self._job.attach(task)
        return self._job

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._over(exc)

    async def _over(self, exc: BaseException | None) -> None:
        """Leave with `exc`, or with the job's cause in its place."""
        job = self._job
        if job.cause is not None and not isinstance(exc, asyncio.CancelledError):
            # Our cancellation was swallowed, became something else, or has not been delivered yet. It must come now: at
            # the handler's next await it would be taken for a disconnect, and nobody would be answered.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        late: asyncio.CancelledError | None = None
        if exc is None and job.state is State.PAUSED and job.cause is None:
            try:  # paused is paused: it is not over before it is let go
                await job.gate.opened()
            except asyncio.CancelledError as error:
                exc = late = error
        self._conclude(exc, late)

    def _conclude(self, exc: BaseException | None, late: asyncio.CancelledError | None = None) -> None:
        """The task has nothing more to wait for: record the outcome and let go, at once. Raises what it leaves with,
        unless that is `exc`."""
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
            exc.__traceback__ = None  # it leads to where we waited, and what was waited for leads back to it
        try:
            for _ in range(cancels):
                self._task.uncancel()
            if self._task.cancelling() <= self._cancelling:
                # Ours alone. Whatever the cancellation became on its way out, the job ended because of its cause.
                raise cause from (None if exc is cause else exc)
            if not isinstance(exc, asyncio.CancelledError):
                raise asyncio.CancelledError from exc  # somebody else's, which came with ours
        finally:
            # What is raised here keeps this frame: no circle, or all that a request holds stays until it is collected.
            del cause, exc, late

    def _record(self, exc: BaseException | None) -> None:
        job = self._job
        if job.state.ended:
            return
        if job.cause is not None:
            job.stopped()
        elif exc is None:
            if job.state is not State.FINISHING:
                job.finish()
            job.complete()
        else:
            job.failed(exc)
