"""Errors as problem+json (RFC 9457), rendered in one place.

Rules of this room:

- Every answer of 400 and above that leaves headgate has a stable `code`, and shows nothing internal.
- What a client did wrong, or a client that went away, is not worth a traceback; what we did wrong is, once.
- An answer given before the body was read closes the connection: the rest of the body is nobody's.
"""

import json
import logging
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from headgate.errors import ExportFailed, HeadgateError, ServerError, Unauthorized
from headgate.web.jobs import JOB, job_headers

__all__ = ["problems"]

_PHRASES = {int(status): status.phrase for status in HTTPStatus}

logger = logging.getLogger("headgate.web")


def _problem(request: web.Request, status: int, code: str, title: str, detail: str | None = None) -> web.Response:
    """A problem+json response to `request`; if that began a job, it names the job."""
    job = request.get(JOB)
    body = {"type": f"urn:headgate:problem:{code}", "title": title, "status": status, "code": code}
    headers = {} if job is None else job_headers(request, job)
    if detail is not None:
        body["detail"] = detail
    if job is not None:
        body["job"] = str(job.id)
    return web.Response(
        status=status,
        reason=None if status in _PHRASES else title,
        body=json.dumps(body).encode(),
        content_type="application/problem+json",
        headers=headers,
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into a problem."""
    try:
        return await handler(request)
    except HeadgateError as error:
        if isinstance(error, ServerError):
            ours = error.__cause__ if isinstance(error, ExportFailed) else None
            logger.error("%s %s: %s (%r)", request.method, request.path, error, error.__cause__, exc_info=ours)
        response = _problem(request, error.status, error.code, error.title, error.detail)
        if isinstance(error, Unauthorized):
            response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    except web.HTTPException as error:
        if error.status < 400:
            raise
        phrase = _PHRASES.get(error.status, error.reason)
        response = _problem(request, error.status, phrase.lower().replace(" ", "-"), phrase)
        response.headers.extend(
            (name, value)
            for name, value in error.headers.items()
            if name not in (hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH)
        )
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        response = _problem(request, 500, HeadgateError.code, HeadgateError.title)
    if not request.content.is_eof():
        response.force_close()
    return response
