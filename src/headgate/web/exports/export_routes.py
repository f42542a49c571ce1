"""Exports over HTTP: a stored file, whole or in ranges; several as a zip; or a generated one. Each is a job.

POST /export    POST /export/terminate    (and GET, HEAD /files/{name}, whose routes are in web/files)

The headers that all exports have are in `export_headers.py`; how bytes are sent is in `transfer/outbound`.
"""

import contextlib
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from aiohttp import hdrs, web

from headgate.cluster import JobDirectory
from headgate.config import Config
from headgate.errors import ConfigError, InvalidOption, NothingExporting
from headgate.jobs import Job, JobRegistry, Kind
from headgate.names import check_name
from headgate.storage import Entry, Storage
from headgate.transfer.outbound.generated import send_generated
from headgate.transfer.outbound.stored import send_stored
from headgate.transfer.outbound.zipped import Zipped
from headgate.transfer.watchdog import ClientWait, Watchdog, bytes_taken
from headgate.web.expect import deferred
from headgate.web.exports.export_headers import export_headers
from headgate.web.exports.export_request import ExportRequest, read_export_request
from headgate.web.exports.file_digests import Digests
from headgate.web.exports.range_selection import RangeSelection
from headgate.web.files.preconditions import is_known, validators
from headgate.web.jobs.job_ids import requested_job_id
from headgate.web.jobs.job_links import JOB, job_headers
from headgate.web.jobs.job_routes import terminate_own
from headgate.web.middleware.auth import USER
from headgate.web.responses import LingeringResponse
from headgate.wire.digest_fields import format_digests, parse_wish
from headgate.wire.fields import field_value

__all__ = ["Export", "ExportRoutes", "checked_exports"]

#: The name under which a client saves a zip.
ZIP_NAME = "files.zip"

#: A generated export: an async generator function of bytes, or a function whose annotation says that it returns an
#: async iterator of bytes. It is called with the request if it takes an argument.
Export = Callable[..., AsyncIterator[bytes]]


def checked_exports(exports: Mapping[str, Export] | None) -> dict[str, Export]:
    """A copy of `exports` in which every function takes the request.

    Raises ConfigError for a function that is no `Export` or takes more than one argument, InvalidName for a name that
    no file may have.
    """
    return {check_name(name): _taking_request(name, function) for name, function in (exports or {}).items()}


def _taking_request(name: str, function: Export) -> Export:
    called = getattr(function, "__call__", None)  # noqa: B004 - not whether it is callable, but what calling it gives
    if not any(inspect.isasyncgenfunction(each) or _returns_iterator(each) for each in (function, called)):
        raise ConfigError(
            f"The export {name!r} must be an async generator function, or be annotated to return an async iterator."
        )
    match len(inspect.signature(function).parameters):
        case 0:
            return lambda request: function()
        case 1:
            return function
        case _:
            raise ConfigError(f"The export {name!r} must take the request, or nothing.")


def _returns_iterator(function: object) -> bool:
    """Is `function` annotated to return an async iterator? Not a coroutine function, which would have to be awaited."""
    if not callable(function) or inspect.iscoroutinefunction(function):
        return False
    returned = getattr(function, "__annotations__", {}).get("return")
    return returned is not None and re.search(r"\bAsync(Iterator|Iterable|Generator)\b", str(returned)) is not None


class ExportRoutes:
    """The handlers of ``/export``."""

    def __init__(
        self,
        config: Config,
        jobs: JobRegistry,
        directory: JobDirectory,
        storage: Storage,
        exports: Mapping[str, Export],
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._directory = directory
        self._storage = storage
        self._exports = exports
        self._digests = Digests()

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_post("/export", self.export, expect_handler=deferred)
        router.add_post("/export/terminate", self.terminate, expect_handler=deferred)

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Export what the body of the request names."""
        id_ = requested_job_id(request)
        body = await read_export_request(request, self._config)
        if body.as_zip:
            return await self._give_zip(request, body, id_ or body.id)
        return await self.give(request, body.names[0], id_ or body.id)

    async def _give_zip(self, request: web.Request, wanted: ExportRequest, id_: UUID | None) -> web.StreamResponse:
        """Export stored files as one zip, which is made while it is sent: it has no ranges and no digest."""
        if generated := self._exports.keys() & wanted.names:
            raise InvalidOption(f"{min(generated)!r} is generated when it is exported, and cannot be in a zip.")
        zipped = Zipped(
            [await self._checked_entry(name) for name in wanted.names], self._storage.open, deflate=wanted.deflate
        )
        async with self._job(request, id_, *wanted.names, size=zipped.size) as job:
            response = self._response(request, job, ZIP_NAME)
            response.content_type = "application/zip"
            with self._watch(job, request) as waited:
                await send_generated(job, request, response, zipped.chunks(), waited)
        return response

    async def _checked_entry(self, name: str) -> Entry:
        """The entry of the file `name`, after opening it once. Raises what opening it does."""
        async with await self._storage.open(name) as source:
            return source.entry

    async def give(self, request: web.Request, name: str, id_: UUID | None) -> web.StreamResponse:
        """Export the file or the generated export `name`, as a job, whose id is `id_` unless that is None.

        A stored file is sent in ranges and under conditions, and with a digest if the client asks for one (RFC 9530,
        4).
        """
        wanted = parse_wish(field_value(request.headers, "Want-Repr-Digest") or "")
        generate = self._exports.get(name)
        if generate is not None:
            async with self._job(request, id_, name) as job:
                response = self._response(request, job, name)
                with self._watch(job, request) as waited:
                    await send_generated(job, request, response, generate(request), waited)
            return response
        async with await self._storage.open(name) as source:
            there = validators(source.entry)
            if is_known(request, there):
                return LingeringResponse(status=304, headers=there.headers())
            selected = RangeSelection.by(request.headers, there, source.size, most=self._config.max_ranges)
            async with self._job(request, id_, name, size=selected.bytes) as job:
                response = self._response(request, job, name)
                response.set_status(selected.status)
                response.headers.update(there.headers() | selected.headers)
                with self._watch(job, request) as waited:
                    if wanted is not None:
                        digests = await self._digests.of(source, wanted, job.owner)
                        response.headers["Repr-Digest"] = format_digests(digests)
                    await send_stored(
                        job, request, response, source, waited, pieces=selected.pieces, closing=selected.closing
                    )
        return response

    async def head(self, request: web.Request, name: str) -> web.StreamResponse:
        """The headers that `give` would send, without a job: no bytes are moved."""
        headers = export_headers(name)
        if name in self._exports:
            return web.Response(headers=headers)
        async with await self._storage.open(name) as source:
            there = validators(source.entry)
            if is_known(request, there):
                return LingeringResponse(status=304, headers=there.headers())
            headers |= there.headers() | {hdrs.CONTENT_LENGTH: str(source.size), hdrs.ACCEPT_RANGES: "bytes"}
            wanted = parse_wish(field_value(request.headers, "Want-Repr-Digest") or "")
            if wanted is not None:
                headers["Repr-Digest"] = format_digests(await self._digests.of(source, wanted, request[USER].name))
            return web.Response(headers=headers)

    async def terminate(self, request: web.Request) -> LingeringResponse:
        return await terminate_own(request, self._directory, Kind.EXPORT, NothingExporting)

    def _job(
        self, request: web.Request, id_: UUID | None, *names: str, size: int | None = None
    ) -> AbstractAsyncContextManager[Job]:
        return self._jobs.run(
            Kind.EXPORT,
            owner=request[USER].name,
            id=id_,
            names=names,
            bytes_total=size,
            address=request.remote,
        )

    @contextlib.contextmanager
    def _watch(self, job: Job, request: web.Request) -> Iterator[ClientWait]:
        waited = ClientWait()
        with Watchdog(job, request, self._config, waited=waited, moved=lambda: bytes_taken(request, job)):
            yield waited

    @staticmethod
    def _response(request: web.Request, job: Job, name: str) -> web.StreamResponse:
        request[JOB] = job
        return web.StreamResponse(headers=export_headers(name) | job_headers(request, job))
