"""What is said of a job outside this room, and who changes one.

A `JobInfo` is a snapshot: a job as it was at one moment, with all that JSON, events, the log and metrics say of it. It
can be kept, compared and sent to another process. It never changes, and changing a job takes a command
(`JobDirectory`).
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from headgate.jobs.states import Kind, State

__all__ = ["Actor", "JobInfo"]


class Actor(NamedTuple):
    """Who changed something: a user, and the address that the request came from (None where there was no request)."""

    user: str
    address: str | None = None


class JobInfo(NamedTuple):
    """A job at one moment. A tuple, because thousands are made for one listing."""

    id: UUID
    kind: Kind
    state: State
    owner: str
    #: The files that the job moves, as far as they are known.
    names: tuple[str, ...]
    #: Bytes moved so far.
    bytes_done: int
    #: Bytes that the job will have moved when it is done; None while that is unknown.
    bytes_total: int | None
    #: Bytes per second, measured.
    rate: float
    #: Bytes per second that the job may move; None where it has no limit.
    limit: int | None
    created_at: datetime
    #: When a byte last moved or the state last changed.
    updated_at: datetime
    ended_at: datetime | None
    #: The user who terminated the job.
    ended_by: str | None
    #: A stable code: why the job was interrupted, failed or terminated. None for one that has completed.
    reason: str | None
    #: The address of the client whose request began the job; None where a job was taken over from another process.
    address: str | None
    #: `id` as text.
    id_text: str

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the job is done if it goes on at its rate; None where that is unknown."""
        if self.bytes_total is None or self.rate <= 0:
            return None
        return (self.bytes_total - self.bytes_done) / self.rate
