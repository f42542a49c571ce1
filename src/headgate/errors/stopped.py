"""Why a job was stopped: the causes with which its task is cancelled.

The code that stops a job sets one of these as its cause and cancels its task; where the CancelledError leaves the job,
the cause is raised in its place.
"""

from headgate.errors.base import HeadgateError

__all__ = [
    "Abandoned",
    "Disconnected",
    "Expired",
    "IdleTimeout",
    "JobStopped",
    "MalformedTransfer",
    "ShuttingDown",
    "Superseded",
    "Terminated",
    "TooSlow",
]


class JobStopped(HeadgateError):
    """A transfer was stopped, though neither its request nor the server is at fault.

    Code outside the job's task sets it on the job and cancels the task; it is raised in place of the ``CancelledError``
    once everything of the job has been removed. Code within the task raises it.
    """

    code, status, title = "stopped", 409, "The job was stopped"

    #: The user who ended the job; None where no user did.
    by: str | None = None

    #: The address that the user's request came from.
    address: str | None = None

    #: Does it end a resumable upload for good? After any other one another request can go on with it.
    final: bool = False


class Terminated(JobStopped):
    """A user terminated the job."""

    code, status, title, final = "terminated", 409, "The job was terminated", True

    def __init__(self, by: str, address: str | None = None) -> None:
        super().__init__(f"The job was terminated by {by}; nothing of it is kept.")
        self.by, self.address = by, address


class Abandoned(JobStopped):
    """The creation of a resumable upload failed before its client knew its URL: no request can go on with it."""

    final = True

    def __init__(self, why: BaseException) -> None:
        super().__init__(f"The upload could not be begun: {why}")
        #: The code of the error; without one the task was cancelled, because the client had disconnected.
        self.code = why.code if isinstance(why, HeadgateError) else Disconnected.code


class MalformedTransfer(JobStopped):
    """The request's body ended in the middle, or is no valid chunked body: what follows it cannot be read."""

    code, status, title = "malformed-transfer", 400, "The body's transfer encoding is malformed"


class IdleTimeout(JobStopped):
    """The client sent or took no byte for `Config.idle_timeout`."""

    code, status, title = "idle-timeout", 408, "The client sent or took nothing for too long"


class TooSlow(JobStopped):
    """The client stayed below `Config.min_rate`."""

    code, status, title = "too-slow", 408, "The client sends or takes too slowly"


class Disconnected(JobStopped):
    """The client closed the connection, or it broke."""

    code, status, title = "disconnected", 499, "The client went away"


class Superseded(JobStopped):
    """A newer request for the same resumable upload ended this one, which keeps what it received."""

    code, status, title = "superseded", 409, "A newer request has taken the upload over"


class Expired(JobStopped):
    """A resumable upload received no byte for `Config.upload_expiry`."""

    code, status, title, final = "expired", 410, "The upload has expired; nothing of it is kept", True


class ShuttingDown(JobStopped):
    """The server shuts down; after `retry_after` seconds another one has taken over, or this one is back."""

    code, status, title, retry_after = "shutdown", 503, "The server is shutting down", 5
