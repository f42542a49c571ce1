"""How many jobs may be live: of one owner, and, of those that a task runs, in all.

A job takes a slot of its owner for as long as it lives, and an active one while a task runs it. A resumable upload that
waits for its client is idle: it holds nothing that others lack, and takes no active slot.

Rules of this file:

- Taking a slot is awaited, and comes before the synchronous point at which a job begins: where nodes share their
  limits, another process is asked. Giving one back never waits.
- What was taken is given back exactly once, however the job ends.
"""

from collections import Counter
from typing import Protocol

from headgate.errors import Busy, TooManyJobs

__all__ = ["Admission", "Slots"]


class Admission(Protocol):
    """Decides whether a job may begin."""

    def check(self, owner: str) -> None:
        """Raise TooManyJobs or Busy if `admit` is sure to: a cheap look before work that would be for nothing."""

    async def admit(self, owner: str) -> None:
        """Take a slot of `owner` and an active one. Raises TooManyJobs if the owner has as many jobs as may be, Busy if
        all owners together have. If it is cancelled, nothing is taken."""

    def admit_known(self, owner: str) -> None:
        """Take a slot of `owner`, and no active one, for an upload that another process had admitted before."""

    async def activate(self) -> None:
        """Take an active slot for an idle job. Raises Busy. If it is cancelled, nothing is taken."""

    def deactivate(self) -> None:
        """Give the active slot of a job back, which is idle from now on."""

    def free(self, owner: str, *, idle: bool) -> None:
        """Give back all that a job of `owner` had; `idle`: it had no active slot."""


class Slots:
    """The limits of one process. `max_jobs`: active jobs of all owners; `max_jobs_per_owner`: live jobs of one."""

    def __init__(self, max_jobs: int, max_jobs_per_owner: int) -> None:
        self._max_jobs = max_jobs
        self._max_jobs_per_owner = max_jobs_per_owner
        self._active = 0
        self._live_by_owner: Counter[str] = Counter()

    def check(self, owner: str) -> None:
        if self._live_by_owner[owner] >= self._max_jobs_per_owner:
            raise TooManyJobs(f"You have {self._max_jobs_per_owner} transfers running, and may have no more.")
        self._check_active()

    def _check_active(self) -> None:
        if self._active >= self._max_jobs:
            raise Busy

    async def admit(self, owner: str) -> None:
        self.check(owner)
        self._active += 1
        self._live_by_owner[owner] += 1

    def admit_known(self, owner: str) -> None:
        self._live_by_owner[owner] += 1

    async def activate(self) -> None:
        self._check_active()
        self._active += 1

    def deactivate(self) -> None:
        self._active -= 1

    def free(self, owner: str, *, idle: bool) -> None:
        if not idle:
            self._active -= 1
        self._live_by_owner[owner] -= 1
        if not self._live_by_owner[owner]:
            del self._live_by_owner[owner]
