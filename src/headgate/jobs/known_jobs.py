"""The jobs that a process knows: those that live in it, and a bounded memory of those that have ended.

Both find a job by its id and its owner. A client chooses an id among its owner's own. Another owner's job may have the
same, and neither of the two learns of the other (G6).
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from heapq import merge
from uuid import UUID

from headgate.jobs.info import JobInfo
from headgate.jobs.job import Job

__all__ = ["EndedJobs", "LiveJobs"]

_NO_JOBS: Mapping[UUID, Job] = {}
_NO_INFOS: "OrderedDict[UUID, JobInfo]" = OrderedDict()


class LiveJobs:
    """Jobs that have not ended, in the order in which they began."""

    def __init__(self) -> None:
        self._all: dict[Job, None] = {}
        self._by_owner: dict[str, dict[UUID, Job]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, job: Job) -> bool:
        return job in self._all

    def add(self, job: Job) -> None:
        self._all[job] = None
        self._by_owner.setdefault(job.owner, {})[job.id] = job

    def remove(self, job: Job) -> None:
        del self._all[job]
        jobs = self._by_owner[job.owner]
        del jobs[job.id]
        if not jobs:
            del self._by_owner[job.owner]

    def has_any(self, owner: str) -> bool:
        """Return whether any job of `owner` lives."""
        return owner in self._by_owner

    def owned_by(self, owner: str | None) -> list[Job]:
        """The jobs of `owner`, the oldest first; for None those of all owners."""
        return list(self._all if owner is None else self._by_owner.get(owner, _NO_JOBS).values())

    def get(self, id: UUID, owner: str | None) -> Job | None:  # noqa: A002 - the word that clients see
        """The job `id` of `owner`; for None that of any owner."""
        if owner is not None:
            return self._by_owner.get(owner, _NO_JOBS).get(id)
        return next((jobs[id] for jobs in self._by_owner.values() if id in jobs), None)


class EndedJobs:
    """The last jobs that have ended, at most `capacity` of all owners together.

    When there are more, the owner of most of them loses the oldest: very many jobs of one
    owner do not make those of others forgotten.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0
        self._by_owner: dict[str, OrderedDict[UUID, JobInfo]] = {}

    def add(self, info: JobInfo) -> None:
        """Remember a job that has just ended."""
        infos = self._by_owner.get(info.owner)
        if infos is None:
            infos = self._by_owner[info.owner] = OrderedDict()
        self._size += info.id not in infos
        infos[info.id] = info
        while self._size > self._capacity:
            one = len(self._by_owner) == 1
            owner = info.owner if one else max(self._by_owner, key=lambda owner: len(self._by_owner[owner]))
            self._by_owner[owner].popitem(last=False)
            self._size -= 1
            if not self._by_owner[owner]:
                del self._by_owner[owner]

    def get(self, id: UUID, owner: str | None) -> JobInfo | None:  # noqa: A002 - the word that clients see
        """The job `id` of `owner`; for None that of any owner."""
        if owner is not None:
            return self._by_owner.get(owner, _NO_INFOS).get(id)
        return next((infos[id] for infos in self._by_owner.values() if id in infos), None)

    def owned_by(self, owner: str | None) -> Iterator[JobInfo]:
        """The jobs of `owner`, the last ended first; for None those of all owners."""
        chosen = self._by_owner.values() if owner is None else (self._by_owner.get(owner, _NO_INFOS),)
        return merge(*(reversed(list(infos.values())) for infos in chosen), key=_ended_at, reverse=True)


def _ended_at(info: JobInfo) -> float:
    return 0.0 if info.ended_at is None else info.ended_at.timestamp()
