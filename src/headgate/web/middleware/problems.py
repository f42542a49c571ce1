"""Errors as problem+json (RFC 9457): the outermost middleware renders whatever a handler raises.

Rules of this file:

- Every answer of 400 and above has a stable `code`, and shows nothing internal.
- A client's error, or a client that went away, is logged without a traceback; an error of the server with one, once.
- An answer that comes before the end of the request's body lingers, so that the client gets to read it.
"""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from headgate.config import Config
from headgate.errors import (
    Busy,
    ExportFailed,
    Forbidden,
    HeadgateError,
    NotReady,
    RangeNotSatisfiable,
    ServerError,
    Unauthorized,
)
from headgate.events import AccessDenied, EventBus
from headgate.web.jobs.job_links import JOB, job_headers
from headgate.web.middleware.auth import USER
from headgate.web.middleware.message import check_message, has_faulty_framing
from headgate.web.responses import LingeringResponse

__all__ = ["problems"]

_PHRASES = {int(status): status.phrase for status in HTTPStatus}

logger = logging.getLogger("headgate.web")


def _problem(
    request: web.Request,
    status: int,
    code: str,
    title: str,
    detail: str | None = None,
    *,
    type_: str | None = None,
    members: Mapping[str, object] | None = None,
) -> LingeringResponse:
    """A problem+json response to `request`; it names the job that `request` began, if any."""
    job = request.get(JOB)
    body: dict[str, object] = {
        "type": type_ or f"urn:headgate:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
    }
    body |= members or {}
    headers = {} if job is None else job_headers(request, job)
    if detail is not None:
        body["detail"] = detail
    if job is not None:
        body["job"] = str(job.id)
    return LingeringResponse(
        status=status,
        reason=None if status in _PHRASES else title,
        body=json.dumps(body).encode(),
        content_type="application/problem+json",
        headers=headers,
    )


def problems(config: Config, bus: EventBus) -> Middleware:
    """A middleware that answers what a handler raises with a problem, and lets an early answer linger.

    A request that is refused because of its user or its origin is published on `bus` as AccessDenied.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        is_message = False
        try:
            check_message(request)
            is_message = True
            response = await handler(request)
        except HeadgateError as error:
            if isinstance(error, Unauthorized | Forbidden):
                bus.publish(_denial(request, error))
            response = _error_response(request, error)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = _aiohttp_error_response(request, error)
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            response = _problem(request, 500, HeadgateError.code, HeadgateError.title)
        if not is_message or has_faulty_framing(request):
            response.force_close()
        if isinstance(response, LingeringResponse) and not request.content.is_eof():
            response.linger_after(request, config)
        return response

    return middleware


def _denial(request: web.Request, error: HeadgateError) -> AccessDenied:
    user = request.get(USER)
    return AccessDenied(
        error.status, error.code, request.method, request.path, None if user is None else user.name, request.remote
    )


def _error_response(request: web.Request, error: HeadgateError) -> LingeringResponse:
    """The answer to a HeadgateError. An error of the server is logged; that it is busy or not ready is not an error."""
    if isinstance(error, ServerError) and not isinstance(error, Busy | NotReady):
        # A generated export is the embedding service's own code: its traceback tells where it failed.
        shown = error.__cause__ if isinstance(error, ExportFailed) else None
        logger.error("%s %s: %s (%r)", request.method, request.path, error, error.__cause__, exc_info=shown)
    response = _problem(
        request, error.status, error.code, error.title, error.detail, type_=error.type, members=error.members
    )
    if isinstance(error, Unauthorized):
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if isinstance(error, RangeNotSatisfiable):
        response.headers[hdrs.CONTENT_RANGE] = f"bytes */{error.size}"
    if error.retry_after is not None:
        response.headers[hdrs.RETRY_AFTER] = str(error.retry_after)
    return response


def _aiohttp_error_response(request: web.Request, error: web.HTTPException) -> LingeringResponse:
    """The answer to an error that aiohttp raised, with the headers that it has (Allow, Location)."""
    phrase = _PHRASES.get(error.status, error.reason)
    response = _problem(request, error.status, phrase.lower().replace(" ", "-"), phrase)
    body_headers = (hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH)
    response.headers.extend((name, value) for name, value in error.headers.items() if name not in body_headers)
    return response
