"""tus 1.0.0 over HTTP (tus.io/protocols/resumable-upload), with its extensions.

OPTIONS, POST /tus/    HEAD, PATCH, DELETE, OPTIONS /tus/{id}

The handlers translate: headers to calls of the resumable core (`headgate.resumable`), its outcome to headers.

Rules of this file:

- An extension is advertised only if the storage can do it.
- Every answer carries Tus-Resumable, an error too. An error that the client should not retry has a status upon which
  tus clients stop (`final`).
- An upload that is whole is published before the answer. If that fails, the next HEAD or PATCH tries again.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import hdrs, web

from headgate.config import Config
from headgate.errors import (
    AlreadyFinished,
    ChecksumMismatch,
    DigestMismatch,
    FileNotFound,
    FinalUpload,
    HeadgateError,
    IdleTimeout,
    OffsetMismatch,
    PreconditionFailed,
    Superseded,
    TooLarge,
    UnsupportedFeature,
    UnsupportedMedia,
    UnsupportedVersion,
    UploadLocked,
)
from headgate.events import EventBus, FileDeleted
from headgate.lowlevel.readable_size import readable
from headgate.resumable import Append, Protocol, ResumableUploads, Upload
from headgate.storage import Precondition, Storage
from headgate.transfer.inbound.body import Body
from headgate.transfer.inbound.content import check_coding, media_type
from headgate.web.expect import deferred, send_continue
from headgate.web.jobs.job_access import requesting_actor
from headgate.web.jobs.job_ids import requested_job_id
from headgate.web.jobs.job_links import job_headers
from headgate.web.middleware.auth import USER
from headgate.web.responses import LingeringResponse, set_default_headers
from headgate.web.resumable.requests import RequestSender, absolute, expiry_date, final, find, is_empty, set_job
from headgate.web.resumable.tus_creation import LENGTH, digester_of, requested_upload
from headgate.wire.fields import field_value
from headgate.wire.tus import (
    ALGORITHMS,
    CONTENT_TYPE,
    EXTENSIONS,
    VERSION,
    parse_number,
)

__all__ = ["TusRoutes", "say_version"]

#: The route of one upload.
UPLOAD_ROUTE = "tus"

OFFSET = "Upload-Offset"

Handlers = Mapping[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]


class TusRoutes:
    """The handlers of ``/tus/``."""

    def __init__(self, config: Config, uploads: ResumableUploads, storage: Storage, bus: EventBus) -> None:
        self._config = config
        self._uploads = uploads
        self._storage = storage
        self._bus = bus
        self._extensions = [each for each in EXTENSIONS if self._is_offered(each)]
        self._collection: Handlers = {"OPTIONS": self.options, "POST": self.create}
        self._one: Handlers = {
            "OPTIONS": self.options,
            "HEAD": self.head,
            "PATCH": self.append,
            "DELETE": self.delete,
        }

    def _is_offered(self, extension: str) -> bool:
        return not extension.startswith("concatenation") or self._storage.capabilities.concatenation

    def add_to(self, router: web.UrlDispatcher) -> None:
        for name, path in ((f"{UPLOAD_ROUTE}-all", "/tus/"), (f"{UPLOAD_ROUTE}-all-without-slash", "/tus")):
            router.add_route("*", path, self._serving(self._collection), name=name, expect_handler=deferred)
        router.add_route("*", "/tus/{id}", self._serving(self._one), name=UPLOAD_ROUTE, expect_handler=deferred)

    @staticmethod
    def _serving(handlers: Handlers) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        @final
        async def serve(request: web.Request) -> web.StreamResponse:
            method = request.method
            if method != hdrs.METH_OPTIONS:  # OPTIONS is open to all: no override may make another method of it
                method = request.headers.get("X-HTTP-Method-Override", method).upper()
            if method not in handlers:
                raise web.HTTPMethodNotAllowed(method, handlers)
            if method != "OPTIONS" and request.headers.get("Tus-Resumable") != VERSION:
                set_default_headers(request, {"Tus-Version": VERSION})
                raise UnsupportedVersion(f"Tus-Resumable must be {VERSION}.")
            return await handlers[method](request)

        return serve

    async def options(self, request: web.Request) -> LingeringResponse:
        """The version, the extensions and the largest size that are served."""
        headers = {
            "Tus-Version": VERSION,
            "Tus-Extension": ",".join(self._extensions),
            "Tus-Max-Size": str(self._config.max_file_size),
            "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
            hdrs.ALLOW: ", ".join(self._one if "id" in request.match_info else self._collection),
        }
        if "id" in request.match_info:
            headers["Accept-Patch"] = CONTENT_TYPE
        return LingeringResponse(status=200, headers=headers)

    async def create(self, request: web.Request) -> LingeringResponse:
        """Create an upload, with some of its bytes if the request carries any; or publish one that is made of parts."""
        new = requested_upload(request, self._config)
        if (new.partial or new.parts) and not self._storage.capabilities.concatenation:
            raise UnsupportedFeature("Uploads cannot be concatenated here.")
        absolute(request, self._config, "/")  # raises before anything is created, if no Location can be told
        with_bytes = await self._brings_bytes(request)
        sender = RequestSender(request, self._config, digester_of(request))
        if with_bytes and new.length is not None and (sender.length or 0) > new.length:
            raise TooLarge(f"The upload is to have {readable(new.length)}.")
        id_ = requested_job_id(request)
        upload = await self._uploads.create(new, owner=request[USER].name, id_=id_, address=request.remote)
        set_job(request, upload)
        try:
            if with_bytes:
                await self._append(upload, Append(offset=0), sender)
            if upload.record.outcome is None and (upload.whole or new.parts):
                await self._uploads.completed(upload)
        except AlreadyFinished:  # a request of the same owner, who chose the id, has ended it meanwhile
            upload = await self._uploads.find_again(upload)
        except BaseException as error:
            if id_ is None and not upload.is_being_completed:  # no client knows its URL, so none can go on with it
                await upload.abandon(error)
            raise
        path = str(request.app.router[UPLOAD_ROUTE].url_for(id=upload.info().id_text))
        headers: dict[str, str] = {hdrs.LOCATION: absolute(request, self._config, path)}
        if not new.parts:
            headers[OFFSET] = str(upload.offset)
        headers |= self._expiry(upload) | job_headers(request, upload.info())
        return LingeringResponse(status=201, headers=headers)

    async def _brings_bytes(self, request: web.Request) -> bool:
        """Does a creation carry content? Raises UnsupportedMedia if that has not the type of tus, IdleTimeout."""
        if is_empty(request):
            return False
        check_coding(request)
        if media_type(request) == CONTENT_TYPE:
            return True
        if request.content_length is None:  # chunked: some clients send an empty body so
            await send_continue(request)
            try:
                async with asyncio.timeout(self._config.idle_timeout):
                    await Body(request, limit=0).read()
                return False
            except TimeoutError:
                raise IdleTimeout from None
            except TooLarge:
                pass
        raise UnsupportedMedia(f"Bytes must be sent as {CONTENT_TYPE}.")

    async def head(self, request: web.Request) -> LingeringResponse:
        """The offset of an upload. A request that was adding to it has been ended when this answers."""
        upload = await find(request, self._uploads, Protocol.TUS)
        record = upload.record
        if record.outcome is None and not record.parts:
            try:
                await upload.probe()
                if upload.whole:
                    await self._uploads.completed(upload)
            except AlreadyFinished:  # it was published, or ended, just now
                upload = await find(request, self._uploads, Protocol.TUS)
            except Superseded as error:  # of another status clients conclude that the upload is lost
                raise UploadLocked("A newer request has come.") from error
        elif record.parts and record.outcome is None:
            with contextlib.suppress(HeadgateError):  # publishing it failed before: try again
                await self._uploads.completed(upload)
            upload = await find(request, self._uploads, Protocol.TUS)
        record = upload.record
        headers = {}
        if record.outcome is not None or not record.parts:
            headers[OFFSET] = str(upload.offset)
        length = self._uploads.parts.length(upload)
        if length is not None:
            headers[LENGTH] = str(length)
        elif not record.parts:
            headers["Upload-Defer-Length"] = "1"
        headers |= {name: value for name, value in json.loads(record.protocol_headers).items() if value}
        headers |= self._expiry(upload) | job_headers(request, upload.info())
        return LingeringResponse(status=200, headers=headers | {hdrs.CACHE_CONTROL: "no-store"})

    async def append(self, request: web.Request) -> LingeringResponse:
        """Add the content of the request at the offset that it names."""
        upload = await find(request, self._uploads, Protocol.TUS)
        if upload.record.parts:
            raise FinalUpload
        check_coding(request)
        if media_type(request) != CONTENT_TYPE:
            set_default_headers(request, {"Accept-Patch": CONTENT_TYPE})
            raise UnsupportedMedia(f"Bytes must be sent as {CONTENT_TYPE}.")
        offset = parse_number(OFFSET, field_value(request.headers, OFFSET) or "")
        length = field_value(request.headers, LENGTH)
        append = Append(offset=offset, length=None if length is None else parse_number(LENGTH, length))
        sender = RequestSender(request, self._config, digester_of(request))
        if upload.record.outcome is None:
            try:
                await self._append(upload, append, sender)
                if upload.whole:
                    await self._uploads.completed(upload)
            except AlreadyFinished:  # it was published, or ended, while this one waited
                upload = await find(request, self._uploads, Protocol.TUS)
                _check_appended(request, upload, offset, sender)
        else:
            _check_appended(request, upload, offset, sender)
        headers = {OFFSET: str(upload.offset)} | self._expiry(upload)
        return LingeringResponse(status=204, headers=headers | job_headers(request, upload.info()))

    async def _append(self, upload: Upload, append: Append, sender: RequestSender) -> None:
        try:
            await upload.append(append, sender, self._config)
        except OffsetMismatch as error:
            set_default_headers(sender.request, {OFFSET: str(error.expected)})
            raise
        except DigestMismatch as error:
            raise ChecksumMismatch("Nothing of the content was kept.") from error

    async def delete(self, request: web.Request) -> LingeringResponse:
        """Terminate an upload. Of a complete one its file is deleted, if it is still the one that was uploaded."""
        upload = await find(request, self._uploads, Protocol.TUS, wait=False)
        await self._uploads.remove(upload, by=requesting_actor(request))
        outcome = upload.record.outcome
        if outcome is not None and outcome.part_of is None:
            unchanged = Precondition(etags=frozenset({outcome.etag or ""}))
            with contextlib.suppress(FileNotFound, PreconditionFailed):
                await self._storage.delete(outcome.name, unchanged)
                self._bus.publish(FileDeleted(outcome.name, requesting_actor(request)))
        return LingeringResponse(status=204, headers=job_headers(request, upload.info()))

    def _expiry(self, upload: Upload) -> dict[str, str]:
        """Upload-Expires; not of a complete upload, which does not expire."""
        return {} if upload.record.outcome is not None else {"Upload-Expires": expiry_date(self._uploads, upload)}


async def say_version(request: web.Request, response: web.StreamResponse) -> None:
    """An ``on_response_prepare``: give every answer of these routes the header Tus-Resumable, errors included."""
    resource = request.match_info.route.resource
    if resource is not None and (resource.name or "").startswith(UPLOAD_ROUTE):
        response.headers["Tus-Resumable"] = VERSION


def _check_appended(request: web.Request, upload: Upload, offset: int, sender: RequestSender) -> None:
    """A published upload has all its bytes: raise OffsetMismatch or TooLarge unless `request` adds none at its end."""
    if offset != upload.offset:
        set_default_headers(request, {OFFSET: str(upload.offset)})
        raise OffsetMismatch(upload.offset, offset)
    if sender.length != 0:
        raise TooLarge(f"The upload has all its {offset} bytes.")
