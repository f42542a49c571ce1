"""How many jobs may be live: in all, and of one owner."""

from collections import Counter

from headgate.errors import Busy, TooManyJobs
from headgate.jobs.job import Job

__all__ = ["Slots"]


class Slots:
    """`most`: jobs that somebody moves; `most_of_one`: live jobs of one owner."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._live = 0
        self._live_of: Counter[str] = Counter()
        #: Jobs that outlive their tasks, and have none: they hold nothing that others lack.
        self.idle: set[Job] = set()

    def check(self, owner: str) -> None:
        """Raise TooManyJobs or Busy if `owner` may not have one more."""
        if self._live_of[owner] >= self._most_of_one:
            raise TooManyJobs(f"You have {self._most_of_one} transfers running, and may have no more.")
        self.admit()

    def admit(self) -> None:
        """Raise Busy if nobody may move one more."""
        if self._live - len(self.idle) >= self._most:
            raise Busy

    def enter(self, job: Job) -> None:
        self._live += 1
        self._live_of[job.owner] += 1

    def leave(self, job: Job) -> bool:
        """Give up the place of `job`; has its owner any others?"""
        self.idle.discard(job)
        self._live -= 1
        self._live_of[job.owner] -= 1
        if self._live_of[job.owner]:
            return True
        del self._live_of[job.owner]
        return False
