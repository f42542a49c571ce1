"""Jobs that have ended, remembered for a while.

One bound holds for all together. When it is reached, the owner of whom most is remembered loses their oldest: however
many jobs somebody runs, nobody else's are forgotten for it.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from heapq import merge
from uuid import UUID

from headgate.jobs.job import Job

__all__ = ["EndedJobs"]

_NONE: Mapping[UUID, Job] = {}


class EndedJobs:
    """The last ended jobs, at most `most` in all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._of: dict[str, OrderedDict[UUID, Job]] = {}

    def add(self, job: Job) -> None:
        """Remember `job`, which has just ended."""
        theirs = self._of.get(job.owner)
        if theirs is None:
            theirs = self._of[job.owner] = OrderedDict()
        self._size += job.id not in theirs
        theirs[job.id] = job
        while self._size > self._most:
            owner = job.owner if len(self._of) == 1 else max(self._of, key=lambda owner: len(self._of[owner]))
            self._of[owner].popitem(last=False)
            self._size -= 1
            if not self._of[owner]:
                del self._of[owner]

    def get(self, id: UUID, owner: str | None) -> Job | None:  # noqa: A002 - the word that clients see
        """The job `id` of `owner`; None as the owner means: of anybody."""
        if owner is not None:
            return self._of.get(owner, _NONE).get(id)
        return next((theirs[id] for theirs in self._of.values() if id in theirs), None)

    def of(self, owner: str | None) -> Iterator[Job]:
        """Those of `owner`, or of everybody, the newest first."""
        theirs = self._of.values() if owner is None else (self._of.get(owner, OrderedDict()),)
        return merge(*(reversed(list(each.values())) for each in theirs), key=_ended_at, reverse=True)


def _ended_at(job: Job) -> float:
    return 0.0 if job.ended_at is None else job.ended_at.timestamp()
