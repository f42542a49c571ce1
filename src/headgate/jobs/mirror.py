"""The seam between this process's live jobs and everybody else's view of them.

A task lives in one process; a job may be asked for from another. The table of live jobs stays plain and synchronous; a
mirror carries snapshots outward and brings commands in. The default does nothing. A shared one (a database, a message
bus) can be added without touching a handler.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from headgate.errors import JobNotFound
from headgate.jobs.job import Job

__all__ = ["Command", "Execute", "Mirror", "NullMirror"]


@dataclass(frozen=True, slots=True)
class Command:
    """Somebody elsewhere asks this process to do something to one of its jobs.

    `action` is "terminate", "pause", "resume" or "rate"; `user` is who asks, already authorized by whoever took the
    request; `rate`: bytes per second, or None for no limit.
    """

    action: str
    job: UUID
    user: str
    rate: int | None = None

    def change(self, job: Job) -> None:
        """Do it to `job`; all but terminating, which takes a wait. Raises AlreadyFinished, JobNotFound."""
        match self.action:
            case "pause":
                job.pause()
            case "resume":
                job.resume()
            case "rate":
                job.narrow(self.rate)
            case _:
                raise JobNotFound


#: What a mirror calls when a command came in. Raises JobNotFound if the job does not live here.
Execute = Callable[[Command], Awaitable[None]]


class Mirror(Protocol):
    """What the table of live jobs tells and asks of the outside."""

    def changed(self, job: Job) -> None:
        """`job` began, changed its state or its limit, or ended.

        Called synchronously on the loop: must neither block nor raise."""

    async def start(self, execute: Execute) -> None:
        """Begin to bring commands in; call `execute` for each."""

    async def close(self) -> None:
        """Stop bringing commands in. The jobs have ended."""


class NullMirror:
    """One process, nobody else to tell."""

    def changed(self, job: Job) -> None:
        pass

    async def start(self, execute: Execute) -> None:
        pass

    async def close(self) -> None:
        pass
