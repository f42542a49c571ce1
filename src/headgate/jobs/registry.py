"""The live jobs of this process, a bounded memory of ended ones, and how a job is run and ended.

Rules of this room:

- Plain and synchronous: a job is in the table from the first line of ``run()`` to the last, and nothing in between
  awaits.
- Whoever terminates waits for the job's end, never on its task: awaiting a cancelled task would cancel the waiter.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from uuid import UUID

from headgate.errors import (
    AlreadyFinished,
    HeadgateError,
    JobIdTaken,
    JobNotFound,
    ShuttingDown,
    StillEnding,
    Terminated,
)
from headgate.jobs.ended_jobs import EndedJobs
from headgate.jobs.job import Job
from headgate.jobs.lease import Lease
from headgate.jobs.live_jobs import LiveJobs
from headgate.jobs.mirror import Command, Mirror, NullMirror
from headgate.jobs.rates.throttle import Throttle
from headgate.jobs.run import Run
from headgate.jobs.slots import Slots
from headgate.jobs.states import Kind
from headgate.lowlevel.random_ids import new_id

__all__ = ["Jobs"]

logger = logging.getLogger("headgate.jobs")

#: Of thousands of jobs, so many are told to end before others have a turn of the loop...
AT_A_TIME = 5
#: ...of so many seconds: without a pause the ends of all would come at once, from the threads that remove their files.
BREATH = 0.001


class Jobs:
    """All jobs that this process knows.

    `max_jobs`, `max_jobs_per_owner`: how many may be live. `ended_jobs`: how many ended ones are remembered.
    `terminate_timeout`: seconds to wait for a job's own code to end. `owner_rate`, `total_rate`: bytes per second that
    the live jobs of one owner, and all together, may move; None: as many as come.
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
        mirror: Mirror | None = None,
    ) -> None:
        self._places = Slots(max_jobs, max_jobs_per_owner)
        self._live = LiveJobs()
        self._ended = EndedJobs(ended_jobs)
        self._terminate_timeout = terminate_timeout
        self._owner_rate = owner_rate
        self._owner_throttles: dict[str, Throttle] = {}
        self._throttles = () if total_rate is None else (Throttle(total_rate),)
        self._mirror: Mirror = mirror or NullMirror()
        self._watchers: list[Callable[[Job], None]] = []
        self._closing = False

    # What there is.

    @property
    def closing(self) -> bool:
        """True once no new job is taken."""
        return self._closing

    def live(self, owner: str | None = None) -> list[Job]:
        """Jobs that have not ended, of `owner` or of everybody, oldest first."""
        return self._live.of(owner)

    def __iter__(self) -> Iterator[Job]:
        return self.of(None)

    def of(self, owner: str | None) -> Iterator[Job]:
        """Live jobs, then remembered ones, the newest first in each: those of `owner`, or of everybody."""
        yield from reversed(self.live(owner))
        yield from self._ended.of(owner)

    def get(self, id: UUID, owner: str | None = None) -> Job | None:  # noqa: A002 - the word that clients see
        """The job `id` of `owner`; without one, of anybody."""
        return self._live.get(id, owner) or self._ended.get(id, owner)

    def watch(self, changed: Callable[[Job], None]) -> None:
        """Have `changed` called whenever a job began, changed its state or its limit, or ended: synchronously, on the
        loop. It must not block; what it raises is logged, and the job goes on."""
        self._watchers.append(changed)

    def _changed(self, job: Job) -> None:
        for changed in (self._mirror.changed, *self._watchers):
            try:
                changed(job)
            except Exception:  # a transition that is half told is done all the same
                logger.exception("somebody who watches the jobs has failed")

    # Running.

    def run(
        self,
        kind: Kind,
        *,
        owner: str,
        id: UUID | None = None,  # noqa: A002 - the word that clients see
        names: tuple[str, ...] = (),
        bytes_total: int | None = None,
    ) -> Run:
        """A context manager: one job, run by the current task.

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
            changed=self._changed,
        )
        return Run(job, self._check_and_enter, self._leave)

    def lease(
        self,
        kind: Kind,
        *,
        owner: str,
        id: UUID,  # noqa: A002 - the word that clients see
        names: tuple[str, ...],
        bytes_total: int | None,
        unattended: Callable[[Job], None],
        known: bool = False,
    ) -> Lease:
        """A job that outlives the tasks that hold it; it is live from now on, and interrupted.

        `unattended` is called when somebody stops the job while no task holds it; it must see to it that the job ends.
        `known`: it was taken before, by another process, and is not counted against the limits. Raises as `run` does.
        """
        job = Job(
            id,
            kind,
            owner=owner,
            names=names,
            bytes_total=bytes_total,
            changed=self._changed,
            unattended=lambda: unattended(job),
        )
        if not known:
            self.check(owner, id)
        elif self._live.get(id, owner) is not None:
            raise JobIdTaken
        self._enter(job)
        return Lease(job, leave=self._leave, closing=lambda: self._closing, places=self._places)

    def check(self, owner: str, id: UUID | None = None) -> None:  # noqa: A002 - the word that clients see
        """Would a job of `owner`, by that id, be taken now? Raises as `run` does if it would not."""
        if self._closing:
            raise ShuttingDown
        if id is not None and self.get(id, owner) is not None:
            raise JobIdTaken
        self._places.check(owner)

    def _check_and_enter(self, job: Job) -> None:
        self.check(job.owner, job.id)
        self._enter(job)

    def _enter(self, job: Job) -> None:
        self._places.enter(job)
        self._live.add(job)
        if self._owner_rate is not None:
            job.gate.join(self._owner_throttles.setdefault(job.owner, Throttle(self._owner_rate)))
        job.gate.join(*self._throttles)
        self._changed(job)

    def _leave(self, job: Job) -> None:
        if not job.state.ended:  # it goes on elsewhere, or after a restart
            self._let_go(job)
            return
        self._ended.add(job)
        self._let_go(job)
        assert job.ended_at is not None
        logger.info(
            "%s %s of %s %s%s: %d bytes in %.3f s",
            job.kind,
            job.id,
            job.owner,
            job.state,
            f" by {job.ended_by}" if job.ended_by else f" ({job.reason})" if job.reason else "",
            job.bytes_done,
            (job.ended_at - job.created_at).total_seconds(),
        )

    def _let_go(self, job: Job) -> None:
        if job not in self._live:
            return
        self._live.remove(job)
        if not self._places.leave(job):
            self._owner_throttles.pop(job.owner, None)
        job.close()

    # Ending.

    async def terminate(self, *jobs: Job, by: str) -> list[Job]:
        """Stop `jobs` because the user `by` said so, wait until nothing of them is left, and return those that stopped.

        All are told first and waited for afterwards; one that somebody else is stopping already is waited for too.
        Raises AlreadyFinished if every one of them is past its point of no return, what stands against it if none of
        them can be ended, and StillEnding if code of the embedding service holds an end up for longer than the
        terminate timeout; the job ends all the same.
        """
        stopping: list[tuple[Job, asyncio.Future[None]]] = []
        for number, job in enumerate(jobs, 1):
            if not number % AT_A_TIME:
                await asyncio.sleep(BREATH)  # ending one takes work, and others are not to wait for a thousand's
            try:
                job.stop(Terminated(by))
            except AlreadyFinished:
                if len(jobs) == 1:
                    raise
            else:
                stopping.append((job, job.ending()))
        if not stopping:
            raise AlreadyFinished
        await self._ends([ending for _, ending in stopping])
        refusals = [ending.exception() for _, ending in stopping]
        if all(refusals) and refusals[0] is not None:
            raise refusals[0]
        return [job for (job, _), refusal in zip(stopping, refusals, strict=True) if refusal is None]

    async def _ends(self, endings: "list[asyncio.Future[None]]") -> None:
        """Raises StillEnding."""
        if endings and (await asyncio.wait(endings, timeout=self._terminate_timeout))[1]:
            raise StillEnding

    async def start(self) -> None:
        """Take jobs, and commands of the mirror. May follow a `close`."""
        self._closing = False
        await self._mirror.start(self._execute)

    async def _execute(self, command: Command) -> None:
        job = self.get(command.job)
        if job is None or job.state.ended:
            raise JobNotFound
        if command.action == "terminate":
            await self.terminate(job, by=command.user)
        else:
            command.change(job)

    async def drain(self, seconds: float) -> None:
        """Take no more jobs, and wait until those that run have ended by themselves, at most so long."""
        self._close_to_new()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for job in self.live():
                    with contextlib.suppress(HeadgateError):  # it was refused to end, and goes on
                        await job.wait_ended()

    def _close_to_new(self) -> None:
        """Take no more jobs, and let go of those that nobody holds: they go on after a restart."""
        self._closing = True
        for job in self.live():
            if job.outlives and job.task is None and not job.committed:
                self._leave(job)

    async def shut_down(self) -> None:
        """Take no more jobs, and end those that run: `failed`, because of `shutdown`. Those that outlive their tasks
        are interrupted, and go on after a restart."""
        self._close_to_new()
        jobs = self.live()
        for job in jobs:
            if job.outlives and job.task is None:
                self._leave(job)
            elif job.state.stoppable:
                job.stop(ShuttingDown())
        try:
            await self._ends([job.ending() for job in jobs])  # the finishing ones too: what was promised is kept
        except StillEnding:
            logger.warning("%d jobs are still ending", len(self._live))

    async def close(self) -> None:
        await self._mirror.close()
