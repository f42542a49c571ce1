"""Why a job's task was cancelled; raised in place of CancelledError."""

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
    """Why a transfer could not go on, though neither the request nor the server is at fault.

    Where it comes from outside the job's task, it is written on the job before the task is cancelled, and raised in
    place of the ``CancelledError`` once everything of the job is gone. Where the task meets it itself, it raises it.
    """

    code, status, title = "stopped", 409, "The job was stopped"

    #: The user who ended the job; None where no user did.
    by: str | None = None

    #: The address that the user's request came from.
    address: str | None = None

    #: Does it end a resumable upload, too? Whatever else stops one leaves what it has received to another request.
    final: bool = False


class Terminated(JobStopped):
    code, status, title, final = "terminated", 409, "The job was terminated", True

    def __init__(self, by: str, address: str | None = None) -> None:
        super().__init__(f"The job was terminated by {by}; nothing of it is kept.")
        self.by, self.address = by, address


class Abandoned(JobStopped):
    """The creation of a resumable upload failed before its client could know where it is: nobody can go on with it."""

    final = True

    def __init__(self, why: BaseException) -> None:
        super().__init__(f"The upload could not be begun: {why}")
        #: That of what went wrong; whoever waited for its client was cancelled because the client had gone.
        self.code = why.code if isinstance(why, HeadgateError) else Disconnected.code


class MalformedTransfer(JobStopped):
    code, status, title = "malformed-transfer", 400, "The body's transfer encoding is malformed"


class IdleTimeout(JobStopped):
    code, status, title = "idle-timeout", 408, "The client sent or took nothing for too long"


class TooSlow(JobStopped):
    code, status, title = "too-slow", 408, "The client sends or takes too slowly"


class Disconnected(JobStopped):
    code, status, title = "disconnected", 499, "The client went away"


class Superseded(JobStopped):
    code, status, title = "superseded", 409, "A newer request has taken the upload over"


class Expired(JobStopped):
    code, status, title, final = "expired", 410, "The upload has expired; nothing of it is kept", True


class ShuttingDown(JobStopped):
    #: By then another server has taken over, or this one is back.
    code, status, title, retry_after = "shutdown", 503, "The server is shutting down", 5
