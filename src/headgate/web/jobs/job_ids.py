"""Ids of jobs, as clients write them: in the URL, in ``Job-Id``, in a body."""

from uuid import UUID

from aiohttp import web

from headgate.errors import HeadgateError, MalformedRequest

__all__ = ["parse_job_id", "requested_job_id"]


def parse_job_id(text: str, error: HeadgateError) -> UUID:
    """The UUID `text` in its canonical form (RFC 9562, section 4); raises `error` for anything else."""
    try:
        id_ = UUID(text)
    except ValueError:
        raise error from None
    if str(id_) != text.lower():
        raise error
    return id_


def requested_job_id(request: web.Request) -> UUID | None:
    """The id that the client wants its job to have. Raises MalformedRequest if ``Job-Id`` is not a UUID."""
    text = request.headers.get("Job-Id")
    return None if text is None else parse_job_id(text, MalformedRequest("Job-Id must be a UUID."))
