"""The directory of a service that is one process: a thin face on its registry of jobs.

Changes come from the registry and go to the watchers of the job's owner, and to the bus. Progress is looked for
`PROGRESS_SECONDS` apart, while there are watchers.

Rules of this file:

- Listing and looking for progress take a turn of the loop after every `JOBS_PER_TURN` jobs.
- A watcher is told in order: the infos of one piece of progress are taken and handed over in the same turn.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from uuid import UUID

from headgate.cluster.directory import Command, JobWatcher, Pause, Resume, SetRate, Terminate
from headgate.errors import AlreadyFinished, JobNotFound
from headgate.events import EventBus, JobChanged, JobEnded, JobProgressed
from headgate.jobs import Actor, Job, JobInfo, JobRegistry

__all__ = ["LocalJobDirectory"]

logger = logging.getLogger("headgate.jobs")

#: Seconds between two rounds of progress.
PROGRESS_SECONDS = 0.25

#: Jobs that are looked at before others have a turn of the loop: about a millisecond's work where they are put into
#: JSON.
JOBS_PER_TURN = 50


class LocalJobDirectory:
    """The jobs of `jobs`, the registry of this process. Publishes what happens to them on `bus`."""

    def __init__(self, jobs: JobRegistry, bus: EventBus) -> None:
        self.jobs = jobs
        self._bus = bus
        self._watchers: dict[str | None, list[JobWatcher]] = {}
        self._progress: dict[Job, tuple[object, ...]] = {}  # as it was told last
        self._ticker: asyncio.Task[None] | None = None
        jobs.listen(self._on_change)

    async def get(self, id: UUID, owner: str | None = None) -> JobInfo | None:  # noqa: A002 - the word that clients see
        return self.jobs.get(id, owner)

    async def list(self, owner: str | None = None, *, live_only: bool = False) -> AsyncIterator[JobInfo]:
        live = self.jobs.live(owner)
        ended = [] if live_only else self.jobs.ended(owner)
        for number, job in enumerate(reversed(live), 1):
            if not (live_only and job.state.ended):  # since the listing began
                yield job.info()
            if not number % JOBS_PER_TURN:
                await asyncio.sleep(0)
        for number, info in enumerate(ended, 1):
            yield info
            if not number % JOBS_PER_TURN:
                await asyncio.sleep(0)

    async def command(
        self,
        id: UUID,  # noqa: A002 - the word that clients see
        *commands: Command,
        owner: str,
        by: Actor,
    ) -> JobInfo:
        job = self.jobs.get_live(id, owner)
        if job is None:
            ended = self.jobs.get(id, owner)
            if ended is None:
                raise JobNotFound
            raise AlreadyFinished(f"The job has already finished: it is {ended.state}.")
        for command in commands:
            match command:
                case Pause():
                    job.pause(by)
                case Resume():
                    job.resume(by)
                case SetRate(rate):
                    job.set_rate(rate, by)
                case Terminate():
                    await self.jobs.terminate(job, by=by)
        return job.info()

    async def terminate(self, jobs: Sequence[JobInfo], *, by: Actor) -> Sequence[JobInfo]:
        live = [job for info in jobs if (job := self.jobs.get_live(info.id, info.owner)) is not None]
        return await self.jobs.terminate(*live, by=by)

    @contextlib.contextmanager
    def watch(self, watcher: JobWatcher, owner: str | None = None) -> Iterator[None]:
        self._watchers.setdefault(owner, []).append(watcher)
        if self._ticker is None:
            self._ticker = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            self._watchers[owner].remove(watcher)
            if not self._watchers[owner]:
                del self._watchers[owner]
            if not self._watchers:
                self._ticker.cancel()
                self._ticker = None
                self._progress.clear()

    def _on_change(self, job: Job, by: Actor | None) -> None:
        if job.state.ended:
            self._progress.pop(job, None)
        if self._bus.wants(JobChanged) or job.owner in self._watchers or None in self._watchers:
            event = JobChanged(job.info(), by)
            self._bus.publish(event)
            for owner in (job.owner, None):
                self._tell(owner, event)
        if job.state.ended:
            self._bus.publish(JobEnded(job.info(), by))

    def _tell(self, owner: str | None, event: JobChanged | JobProgressed) -> None:
        for watcher in list(self._watchers.get(owner, ())):
            try:
                watcher(event)
            except Exception:
                logger.exception("a watcher of jobs has failed")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            try:
                await self._tell_progress()
            except Exception:
                logger.exception("a round of progress has failed; the next one comes")

    async def _tell_progress(self) -> None:
        owners = list(self._watchers)
        jobs = [job for owner in ([None] if None in owners else owners) for job in self.jobs.live(owner)]
        for start in range(0, len(jobs), JOBS_PER_TURN):
            moved: defaultdict[str | None, list[JobInfo]] = defaultdict(list)
            for job in jobs[start : start + JOBS_PER_TURN]:
                if (info := self._moved(job)) is not None:
                    moved[job.owner].append(info)
                    moved[None].append(info)
            for owner, infos in moved.items():
                self._tell(owner, JobProgressed(tuple(infos), is_last=False))
            await asyncio.sleep(0)
        for number, owner in enumerate(owners, 1):
            self._tell(owner, JobProgressed((), is_last=True))
            if not number % JOBS_PER_TURN:
                await asyncio.sleep(0)

    def _moved(self, job: Job) -> JobInfo | None:
        """`job` as it is now, if that differs from what was told last."""
        if job.state.ended:  # since the round began
            return None
        info = job.info()
        # Of the rate two digits: that of a job which stands still sinks ever more slowly.
        now = (info.bytes_done, info.bytes_total, len(info.names), f"{info.rate:.1e}")
        if self._progress.get(job) == now:
            return None
        self._progress[job] = now
        return info
