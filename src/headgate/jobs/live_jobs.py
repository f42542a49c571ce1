"""The jobs that live in this process, found by their id and by their owner.

A client chooses an id among its owner's own. Another owner's job may have the same, and neither of the two learns of
the other (G6).
"""

from collections.abc import Mapping
from uuid import UUID

from headgate.jobs.job import Job

__all__ = ["LiveJobs"]

_NONE: Mapping[UUID, Job] = {}


class LiveJobs:
    """Jobs that have not ended, in the order in which they began."""

    def __init__(self) -> None:
        self._all: dict[Job, None] = {}
        self._of: dict[str, dict[UUID, Job]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, job: Job) -> bool:
        return job in self._all

    def add(self, job: Job) -> None:
        self._all[job] = None
        self._of.setdefault(job.owner, {})[job.id] = job

    def remove(self, job: Job) -> None:
        del self._all[job]
        theirs = self._of[job.owner]
        del theirs[job.id]
        if not theirs:
            del self._of[job.owner]

    def of(self, owner: str | None) -> list[Job]:
        """Those of `owner`, or, without one, of everybody."""
        return list(self._all if owner is None else self._of.get(owner, {}).values())

    def get(self, id: UUID, owner: str | None) -> Job | None:  # noqa: A002 - the word that clients see
        """The job `id` of `owner`, or, without one, of anybody."""
        if owner is not None:
            return self._of.get(owner, _NONE).get(id)
        return next((theirs[id] for theirs in self._of.values() if id in theirs), None)
