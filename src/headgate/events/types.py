"""The events of one application. Each is a value that can be kept, compared, and sent elsewhere.

`by` is the actor: the user and the address of the request. It is None where the transfer itself, the sweeper or a
shutdown made the change.
"""

from typing import NamedTuple
from uuid import UUID

from headgate.jobs.info import Actor, JobInfo

__all__ = ["AccessDenied", "Event", "FileDeleted", "FilePublished", "JobChanged", "JobEnded", "JobProgressed"]


class JobChanged(NamedTuple):
    """A job began, changed its state or its limit, or ended."""

    job: JobInfo
    by: Actor | None


class JobEnded(NamedTuple):
    """A job is completed, terminated or failed. Follows the JobChanged that says so."""

    job: JobInfo
    by: Actor | None


class JobProgressed(NamedTuple):
    """Bytes of `jobs` have moved. One round of progress comes in several pieces; `is_last`: this is the last one."""

    jobs: tuple[JobInfo, ...]
    is_last: bool


class FilePublished(NamedTuple):
    """A file has its name. `size`: bytes; `replaced`: another file had the name before; `job_id`: of the upload."""

    name: str
    size: int
    etag: str
    replaced: bool
    job_id: UUID
    by: Actor


class FileDeleted(NamedTuple):
    """A file was deleted on a user's request."""

    name: str
    by: Actor


class AccessDenied(NamedTuple):
    """A request was refused because of its user. `status`: 401 or 403; `user`: None where no user was recognized."""

    status: int
    code: str
    method: str
    path: str
    user: str | None
    address: str | None


Event = JobChanged | JobEnded | JobProgressed | FilePublished | FileDeleted | AccessDenied
