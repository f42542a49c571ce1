"""What both protocols of resumable uploads share over HTTP: who sends, where an upload is, what answers say of it."""

import functools
import time
from contextlib import AbstractContextManager
from email.utils import formatdate

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from headgate.config import Config
from headgate.errors import (
    HeadgateError,
    MalformedRequest,
    Refused,
    ServerError,
    ShuttingDown,
    UploadGone,
    UploadNotFound,
)
from headgate.jobs import Job, State
from headgate.resumable import Protocol, ResumableUploads, Upload
from headgate.transfer.digester import Digester
from headgate.transfer.inbound.body import Body
from headgate.transfer.watchdog import Watchdog
from headgate.web.expect import send_continue, send_interim
from headgate.web.jobs.job_ids import parse_job_id
from headgate.web.jobs.job_links import JOB, job_headers
from headgate.web.middleware.auth import USER
from headgate.web.middleware.message import authority
from headgate.web.responses import set_default_headers

__all__ = ["RequestSender", "absolute", "final", "find", "is_empty", "seconds_left", "set_job", "told_at"]

#: What clients of resumable uploads take as: look how far it is, and go on, or begin anew.
_TRIED_AGAIN = frozenset({409, 423})


def is_empty(request: web.Request) -> bool:
    """Is it sure that `request` has no content?"""
    return not request.can_read_body or request.content_length == 0


def absolute(request: web.Request, config: Config, path: str) -> str:
    """The URL of `path` as the client would say it. Raises MalformedRequest if that cannot be known.

    Where a proxy ends TLS, only a browser tells the scheme: in its ``Origin``, if that is our own. No header of a proxy
    is believed.
    """
    if config.public_url is not None:
        return config.public_url.rstrip("/") + path
    known = authority(request)
    if not known:
        raise MalformedRequest("Without a Host it cannot be said where the upload is.")
    origin = request.headers.get(hdrs.ORIGIN, "")
    scheme, _, host = origin.partition("://")
    own = scheme in ("http", "https") and host.lower() == known.lower()
    return f"{scheme if own else request.scheme}://{known}{path}"


def final(handler: Handler) -> Handler:
    """`handler`, whose client is told 410 where its upload has ended for good while it was sending: what it takes for a
    passing trouble has it begin the same upload anew. The code still says what has happened (G1)."""

    @functools.wraps(handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except HeadgateError as error:
            job = request.get(JOB)
            over = job is not None and job.state in (State.TERMINATED, State.FAILED)
            passing = isinstance(error, ServerError | ShuttingDown)
            refused = isinstance(error, Refused) or error.status in _TRIED_AGAIN or error.status >= 500
            if over and refused and not passing:
                error.status = UploadGone.status
            raise

    return handle


async def find(request: web.Request, uploads: ResumableUploads, protocol: Protocol, *, wait: bool = True) -> Upload:
    """The upload that the URL names, if it is the user's. Raises UploadNotFound, UploadGone, StorageFailed."""
    user = request[USER]
    id_ = parse_job_id(request.match_info["id"], UploadNotFound())
    upload = await uploads.find(id_, protocol, owner=user.name, any_owner=user.admin, wait=wait)
    set_job(request, upload)
    return upload


def set_job(request: web.Request, upload: Upload) -> None:
    """Have every answer to `request`, be it an error, name the job of `upload`."""
    if upload.live_job is not None:
        request[JOB] = upload.live_job
    else:
        set_default_headers(request, job_headers(request, upload.info()))


def seconds_left(uploads: ResumableUploads, upload: Upload) -> int:
    return max(0, int(uploads.parts.expires_at(upload) - time.time()))


def told_at(uploads: ResumableUploads, upload: Upload) -> str:
    """When `upload` expires, as an HTTP date."""
    return formatdate(uploads.parts.expires_at(upload), usegmt=True)


class RequestSender:
    """The content of `request`, on its way into an upload. `digester`: has it pass, if it is to be held against
    something."""

    def __init__(self, request: web.Request, config: Config, digester: Digester) -> None:
        self.request = self._request = request
        self._config = config
        self._digester = digester

    @property
    def length(self) -> int | None:
        return self._request.content_length if self._request.can_read_body else 0

    @property
    def checked(self) -> bool:
        return bool(self._digester)

    def body(self, limit: int) -> Body:
        return Body(self._request, limit=limit, digester=self._digester)

    def watch(self, job: Job, body: Body) -> AbstractContextManager[object]:
        return Watchdog(job, self._request, self._config, waited=body.waited, moved=lambda: body.consumed)

    async def send_continue(self) -> None:
        await send_continue(self._request)

    async def send_interim(self, response: bytes) -> None:
        """Raises Disconnected. In HTTP/1.0 there are no interim responses."""
        if self._request.version >= HttpVersion11:
            await send_interim(self._request, response)

    def check(self) -> None:
        self._digester.check("The content")
