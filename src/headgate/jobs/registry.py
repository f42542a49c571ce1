"""The jobs of this process: how one is begun, found, ended, and what is remembered of those that have ended.

``registry.run(...)`` and ``registry.lease(...)`` admit a job (`Admission`), enter it, and let go of it when it is over.
Code that is told of every change listens (`listen`); it can neither break nor hold up a transition.

Rules of this file:

- A job is entered synchronously, after it was admitted; its id is looked at in the same step.
- A caller of `terminate` waits for the job's end and never awaits its task: that would cancel the caller, too.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from uuid import UUID

from headgate.errors import AlreadyFinished, HeadgateError, JobIdTaken, ShuttingDown, StillEnding, Terminated
from headgate.jobs.info import Actor, JobInfo
from headgate.jobs.job import Job, JobListener
from headgate.jobs.known_jobs import EndedJobs, LiveJobs
from headgate.jobs.lease import Lease
from headgate.jobs.rates.shared_rates import SharedRates
from headgate.jobs.resumable_job import ResumableJob
from headgate.jobs.run import Run
from headgate.jobs.slots import Admission, Slots
from headgate.jobs.states import Kind
from headgate.lowlevel.random_ids import new_id

__all__ = ["JobRegistry"]

logger = logging.getLogger("headgate.jobs")

#: Jobs that `terminate` stops before it pauses, and for how many seconds: without the pause the ends of thousands would
#: come at once, from the threads that remove their files.
STOPS_PER_PAUSE = 5
PAUSE_SECONDS = 0.001


class JobRegistry:
    """All jobs that this process knows.

    `max_jobs`, `max_jobs_per_owner`: how many may be live. `ended_jobs`: how many ended ones are remembered.
    `terminate_timeout`: seconds to wait for the embedding service's code in a job to end. `owner_rate`, `total_rate`:
    bytes per second that the live jobs of one owner, and all together, may move; None: as many as come. `admission`:
    decides in place of the first two.
    """

    def __init__(
        self,
        *,
        max_jobs: int = 10_000,
        max_jobs_per_owner: int = 1000,
        ended_jobs: int = 1000,
        terminate_timeout: float = 30.0,
        owner_rate: int | None = None,
        total_rate: int | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._admission: Admission = admission or Slots(max_jobs, max_jobs_per_owner)
        self._live = LiveJobs()
        self._ended = EndedJobs(ended_jobs)
        self._terminate_timeout = terminate_timeout
        self.rates = SharedRates(owner_rate, total_rate)
        self._listeners: list[JobListener] = []
        self._closing = False

    # What there is.

    @property
    def closing(self) -> bool:
        """True once no new job is taken."""
        return self._closing

    def live(self, owner: str | None = None) -> list[Job]:
        """The jobs of `owner` that have not ended, the oldest first; for None those of all owners."""
        return self._live.owned_by(owner)

    def get_live(self, id: UUID, owner: str | None = None) -> Job | None:  # noqa: A002 - the word that clients see
        """The live job `id` of `owner`; for None that of any owner."""
        return self._live.get(id, owner)

    def get(self, id: UUID, owner: str | None = None) -> JobInfo | None:  # noqa: A002 - the word that clients see
        """What is known of the job `id` of `owner`, live or ended; for None that of any owner."""
        job = self._live.get(id, owner)
        return self._ended.get(id, owner) if job is None else job.info()

    def ended(self, owner: str | None = None) -> list[JobInfo]:
        """The remembered jobs of `owner` that have ended, the last ended first; for None those of all owners."""
        return list(self._ended.owned_by(owner))

    def listen(self, listener: JobListener) -> None:
        """Have `listener` called at every change of a job. It must not block; what it raises is logged."""
        self._listeners.append(listener)

    def _on_change(self, job: Job, by: Actor | None) -> None:
        for listener in self._listeners:
            try:
                listener(job, by)
            except Exception:  # the transition has been made: a listener cannot break it
                logger.exception("a listener to the jobs has failed")

    # Running.

    def run(
        self,
        kind: Kind,
        *,
        owner: str,
        id: UUID | None = None,  # noqa: A002 - the word that clients see
        names: tuple[str, ...] = (),
        bytes_total: int | None = None,
        address: str | None = None,
    ) -> Run[Job]:
        """A context manager: one job, run by the current task. `address`: where its request came from.

        Enters with the Job. The body calls ``job.finish()`` where it can no longer be undone, and ``job.complete()``
        when it is done (leaving without an error completes it too). On exit the job has ended and nothing of it is
        left.

        Entering raises ShuttingDown, JobIdTaken if the client's `id` is known already, TooManyJobs if the owner has as
        many as may be, and Busy if all together have. Leaving raises the job's cause in place of the CancelledError if
        the job was stopped.
        """
        job = Job(
            id or new_id(),
            kind,
            owner=owner,
            names=names,
            bytes_total=bytes_total,
            on_change=self._on_change,
            address=address,
        )
        return Run(job, self._begin, self._leave)

    async def _begin(self, job: Job, task: "asyncio.Task[object]") -> None:
        await self._admit(job)
        job.attach(task)

    async def _admit(self, job: Job) -> None:
        self.check(job.owner, job.id)
        await self._admission.admit(job.owner)
        try:
            self._check_new(job.owner, job.id)  # again: admission may have waited
            self._enter(job)
        except BaseException:
            self._admission.free(job.owner, idle=False)
            raise

    async def lease(
        self,
        kind: Kind,
        *,
        owner: str,
        id: UUID,  # noqa: A002 - the word that clients see
        names: tuple[str, ...],
        bytes_total: int | None,
        on_stop_unattended: Callable[[ResumableJob], None],
        address: str | None = None,
        known: bool = False,
    ) -> Lease:
        """A job that outlives the tasks that run it; it is live from now on, and interrupted.

        `on_stop_unattended` is called when the job is stopped while no task is attached; it must see to it that the job
        ends. `known`: another process had admitted it before, so that the limits do not refuse it. Raises as `run`
        does.
        """
        job = ResumableJob(
            id,
            kind,
            owner=owner,
            names=names,
            bytes_total=bytes_total,
            on_change=self._on_change,
            address=address,
            on_stop_unattended=on_stop_unattended,
        )
        if known:
            if self._live.get(id, owner) is not None:
                raise JobIdTaken
            self._admission.admit_known(owner)
            self._enter(job)
        else:
            await self._admit(job)
            self._admission.deactivate()
        return Lease(job, leave=self._leave, is_closing=lambda: self._closing, admission=self._admission)

    def check(self, owner: str, id: UUID | None = None) -> None:  # noqa: A002 - the word that clients see
        """Raise what `run` would for a job of `owner` by that id, as far as can be told without admitting it."""
        self._check_new(owner, id)
        self._admission.check(owner)

    def _check_new(self, owner: str, id: UUID | None) -> None:  # noqa: A002 - the word that clients see
        if self._closing:
            raise ShuttingDown
        if id is not None and (self._live.get(id, owner) or self._ended.get(id, owner)) is not None:
            raise JobIdTaken

    def _enter(self, job: Job) -> None:
        self._live.add(job)
        self.rates.join(job.gate, job.owner)
        self._on_change(job, None if job.address is None else Actor(job.owner, job.address))

    def _leave(self, job: Job, *, idle: bool = False) -> None:
        """Let go of `job`, which has ended, or goes on after a restart; `idle`: it has no active slot."""
        if job.state.ended:
            self._ended.add(job.info())
        if job not in self._live:
            return
        self._live.remove(job)
        self._admission.free(job.owner, idle=idle)
        if not self._live.has_any(job.owner):
            self.rates.forget(job.owner)
        job.close()

    # Ending.

    async def terminate(self, *jobs: Job, by: Actor) -> list[JobInfo]:
        """Stop `jobs` because `by` asks for it, wait until nothing of them is left, and return those that stopped.

        All are told first and waited for afterwards; one that is being stopped already is waited for, too. Raises
        AlreadyFinished if every one of them is past its point of no return, the storage's error if none of them can be
        ended, and StillEnding if code of the embedding service holds an end up for longer than the terminate timeout;
        the job ends all the same.
        """
        stopping: list[tuple[Job, asyncio.Future[None]]] = []
        for number, job in enumerate(jobs, 1):
            if not number % STOPS_PER_PAUSE:
                await asyncio.sleep(PAUSE_SECONDS)
            try:
                job.stop(Terminated(by.user, by.address))
            except AlreadyFinished:
                if len(jobs) == 1:
                    raise
            else:
                stopping.append((job, job.end_waiter()))
        if not stopping:
            raise AlreadyFinished
        await self._wait([waiter for _, waiter in stopping])
        errors = [waiter.exception() for _, waiter in stopping]
        if all(errors) and errors[0] is not None:
            raise errors[0]
        return [job.info() for (job, _), error in zip(stopping, errors, strict=True) if error is None]

    async def _wait(self, waiters: "list[asyncio.Future[None]]") -> None:
        """Wait for ends. Raises StillEnding after the terminate timeout."""
        if waiters and (await asyncio.wait(waiters, timeout=self._terminate_timeout))[1]:
            raise StillEnding

    def open(self) -> None:
        """Take jobs. May follow a `shut_down`."""
        self._closing = False

    async def drain(self, seconds: float) -> None:
        """Take no more jobs, and wait until those that run have ended by themselves, at most `seconds`."""
        self._close_to_new()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for job in self.live():
                    with contextlib.suppress(HeadgateError):  # it cannot be ended, and goes on
                        await job.wait_ended()

    def _close_to_new(self) -> None:
        """Take no more jobs, and let go of those that no task runs: they go on after a restart."""
        self._closing = True
        for job in self.live():
            if job.is_resumable and job.task is None and not job.all_received:
                self._leave(job, idle=True)

    async def shut_down(self) -> None:
        """Take no more jobs, and end those that run: `failed`, because of `shutdown`. Resumable ones are interrupted,
        and go on after a restart."""
        self._close_to_new()
        jobs = self.live()
        for job in jobs:
            if job.is_resumable and job.task is None:
                self._leave(job, idle=True)
            elif job.state.stoppable:
                job.stop(ShuttingDown())
        try:  # those past the point of no return, too: what was promised is kept
            await self._wait([job.end_waiter() for job in jobs])
        except StillEnding:
            logger.warning("%d jobs are still ending", len(self._live))
