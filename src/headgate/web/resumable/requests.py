"""What the handlers of both resumable protocols, tus and the IETF's, share.

`find` looks up the upload that a URL names, `RequestSender` is the body of a request on its way into an upload, and
`final` is the decorator that gives a client of an ended upload the status on which it stops retrying.
"""

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

__all__ = ["RequestSender", "absolute", "expiry_date", "final", "find", "is_empty", "seconds_left", "set_job"]

#: Statuses upon which clients of resumable uploads ask for the offset and go on, or begin the upload anew.
_RETRIED_STATUSES = frozenset({409, 423})


def is_empty(request: web.Request) -> bool:
    """Has `request` certainly no content? False for a chunked body that has not been read."""
    return not request.can_read_body or request.content_length == 0


def absolute(request: web.Request, config: Config, path: str) -> str:
    """The absolute URL of `path`, with the scheme and the host by which the client reached the server.

    Behind a proxy that ends TLS only a browser tells the scheme, in ``Origin``, which counts if its host is ours.
    Headers that proxies add are not believed: a client can send them, too. Raises MalformedRequest without a Host.
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
    """Decorate `handler`: an error because the upload ended for good gets the status 410 (G1).

    Upon 409, 423 and 5xx clients of resumable uploads would begin the same upload anew; upon 410 they stop. The error's
    code still says what happened.
    """

    @functools.wraps(handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except HeadgateError as error:
            job = request.get(JOB)
            ended = job is not None and job.state in (State.TERMINATED, State.FAILED)
            temporary = isinstance(error, ServerError | ShuttingDown)
            refused = isinstance(error, Refused) or error.status in _RETRIED_STATUSES or error.status >= 500
            if ended and refused and not temporary:
                error.status = UploadGone.status
            raise

    return handle


async def find(request: web.Request, uploads: ResumableUploads, protocol: Protocol, *, wait: bool = True) -> Upload:
    """The upload that the URL of `request` names, if its user may see it; all answers then name its job.

    `wait`: for a publication of it that is under way. Raises UploadNotFound, UploadGone, StorageFailed.
    """
    user = request[USER]
    id_ = parse_job_id(request.match_info["id"], UploadNotFound())
    upload = await uploads.find(id_, protocol, owner=user.name, any_owner=user.admin, wait=wait)
    set_job(request, upload)
    return upload


def set_job(request: web.Request, upload: Upload) -> None:
    """Have every answer to `request`, an error included, name the job of `upload`."""
    if upload.live_job is not None:
        request[JOB] = upload.live_job
    else:
        set_default_headers(request, job_headers(request, upload.info()))


def seconds_left(uploads: ResumableUploads, upload: Upload) -> int:
    """Whole seconds until `upload` expires; 0 if it should have."""
    return max(0, int(uploads.parts.expires_at(upload) - time.time()))


def expiry_date(uploads: ResumableUploads, upload: Upload) -> str:
    """When `upload` expires, as an HTTP-date (RFC 9110, 5.6.7)."""
    return formatdate(uploads.parts.expires_at(upload), usegmt=True)


class RequestSender:
    """The content of `request` on its way into an upload: the `Sender` that `Upload.append` reads from.

    `digester` sees all of the content, and `check` compares it with the digests that came with the request.
    """

    def __init__(self, request: web.Request, config: Config, digester: Digester) -> None:
        self.request = self._request = request
        self._config = config
        self._digester = digester

    @property
    def length(self) -> int | None:
        """Bytes of the content, 0 without any; None for a chunked one."""
        return self._request.content_length if self._request.can_read_body else 0

    @property
    def checked(self) -> bool:
        """Did a digest come with the request? Its bytes then count only once all of them have been checked."""
        return bool(self._digester)

    def body(self, limit: int) -> Body:
        """The reader of the content, which may have `limit` bytes."""
        return Body(self._request, limit=limit, digester=self._digester)

    def watch(self, job: Job, body: Body) -> AbstractContextManager[object]:
        """A context in which a client that is gone, idle or too slow stops `job`."""
        return Watchdog(job, self._request, self._config, waited=body.waited, moved=lambda: body.consumed)

    async def send_continue(self) -> None:
        """Tell a client that waits for it to send the content. Raises ExpectationFailed, Disconnected."""
        await send_continue(self._request)

    async def send_interim(self, response: bytes) -> None:
        """Send `response`, an interim one; not to a client of HTTP/1.0, which has none. Raises Disconnected."""
        if self._request.version >= HttpVersion11:
            await send_interim(self._request, response)

    def check(self) -> None:
        """Raise DigestMismatch if the content has not the digests that came with the request."""
        self._digester.check("The content")
