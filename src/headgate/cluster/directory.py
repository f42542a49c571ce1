"""The directory of jobs: what every request handler uses to see, command and watch jobs, wherever they run.

A task runs in one process; its job may be asked for on another node. The directory finds the node, and answers when the
command is done there.

Rules of this file:

- A job is named by its id and its owner: another owner's job may have the same id. The caller has checked that the
  actor may see the job (``web/jobs/job_access.py``).
- Everything that may ask another node is awaited. If a call is cancelled, the command may have been carried out.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol
from uuid import UUID

from headgate.events.types import JobChanged, JobProgressed
from headgate.jobs.info import Actor, JobInfo

__all__ = ["Command", "JobDirectory", "JobWatcher", "Pause", "Resume", "SetRate", "Terminate"]


class Terminate(NamedTuple):
    """Stop the job; done when nothing of it is left."""


class Pause(NamedTuple):
    """Let none of the job's bytes pass."""


class Resume(NamedTuple):
    """Let the bytes of a paused job pass again."""


class SetRate(NamedTuple):
    """Let at most `rate` bytes per second pass; None: as many as come."""

    rate: int | None


Command = Terminate | Pause | Resume | SetRate

#: Is called with every change and with all progress of the jobs that it watches: synchronously, on the loop, in order.
#: It must not block; what it raises is logged.
JobWatcher = Callable[[JobChanged | JobProgressed], object]


class JobDirectory(Protocol):
    """The jobs of one service, on all its nodes."""

    async def get(self, id: UUID, owner: str | None = None) -> JobInfo | None:  # noqa: A002 - the word that clients see
        """The job `id` of `owner`, live or remembered; for None that of any owner."""

    def list(self, owner: str | None = None, *, live_only: bool = False) -> AsyncIterator[JobInfo]:
        """The live jobs of `owner`, then the remembered ones, the newest first in each; None: of all owners.

        Each is a snapshot of the moment at which it is yielded: a thousand snapshots at once would have the garbage
        collector stop the loop. Other tasks have turns of the loop in between.
        """

    async def command(
        self,
        id: UUID,  # noqa: A002 - the word that clients see
        *commands: Command,
        owner: str,
        by: Actor,
    ) -> JobInfo:
        """Carry `commands` out on the job `id` of `owner`, in this order, and return the job as it is then.

        Raises JobNotFound if no node has the job, AlreadyFinished if it is past its point of no return, StillEnding if
        a terminated job does not end in time, and the error of a storage that cannot end it.
        """

    async def terminate(self, jobs: Sequence[JobInfo], *, by: Actor) -> Sequence[JobInfo]:
        """Terminate all of `jobs` at once, and return those that stopped. Raises as `command` does if none of them
        did."""

    def watch(self, watcher: JobWatcher, owner: str | None = None) -> AbstractContextManager[None]:
        """Have `watcher` told of the jobs of `owner` (None: of all owners) for as long as the context lasts."""
