"""Published files over HTTP: listing, export, deletion.

GET /files    GET, HEAD, DELETE /files/{name}    (PUT /files/{name} is an upload: `upload_routes.py`)
"""

import re
from collections.abc import Collection

from aiohttp import web

from headgate.config import Config
from headgate.errors import InvalidOption
from headgate.events import EventBus, FileDeleted
from headgate.lowlevel.fair_semaphore import FairSemaphore
from headgate.names import check_name
from headgate.storage import Cursor, Entry, SortKey, Storage
from headgate.web.expect import deferred
from headgate.web.exports.export_routes import ExportRoutes
from headgate.web.files.file_json import listed_file_json
from headgate.web.files.preconditions import requested_precondition
from headgate.web.files.url_names import FILE_PATH, name_in_path, text_in_query
from headgate.web.jobs.job_access import requesting_actor
from headgate.web.jobs.job_ids import requested_job_id
from headgate.web.middleware.auth import USER
from headgate.web.responses import LingeringResponse, json_response

__all__ = ["FileRoutes"]

#: The number in a cursor: a size in bytes, or a time in microseconds, which may lie before the epoch.
_CURSOR_NUMBER = re.compile(r"-?[0-9]{1,20}")

#: Listings that are made at the same time; requests that wait for the same reading of the directory share it.
CONCURRENT_LISTINGS = 16


class FileRoutes:
    """The handlers of ``/files``. `generated`: the names of the generated exports."""

    def __init__(
        self, config: Config, storage: Storage, exports: ExportRoutes, generated: Collection[str], bus: EventBus
    ) -> None:
        self._config = config
        self._storage = storage
        self._exports = exports
        self._bus = bus
        self._reserved = frozenset(generated)
        self._turns = FairSemaphore(CONCURRENT_LISTINGS)
        self._generated = [listed_file_json(name, None) for name in sorted(generated)]

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/files", self.list, expect_handler=deferred)
        router.add_get(FILE_PATH, self.get, allow_head=False, expect_handler=deferred)
        router.add_head(FILE_PATH, self.head, expect_handler=deferred)
        router.add_delete(FILE_PATH, self.delete, expect_handler=deferred)

    async def list(self, request: web.Request) -> LingeringResponse:
        """One page of the files: ``?limit=`` of them, by ``?sort=``, after ``?after=``; generated exports first."""
        limit = self._limit(request.query.get("limit"))
        sort_key, descending = self._sort_key(request.query.get("sort", SortKey.NAME))
        after = text_in_query(request, "after") or ""
        cursor = _parse_cursor(after, sort_key) if after else None
        async with self._turns.of(request[USER].name):
            entries = await self._storage.list(cursor, limit + 1, sort_key, descending=descending)
        more = len(entries) > limit
        # A stored file that has the name of a generated export cannot be exported: it is not listed.
        files = [listed_file_json(entry.name, entry) for entry in entries[:limit] if entry.name not in self._reserved]
        body = {
            "files": files if after else self._generated + files,
            "next": _format_cursor(entries[limit - 1], sort_key) if more else None,
        }
        return json_response(body)

    def _sort_key(self, text: str) -> tuple[SortKey, bool]:
        """The key that `text` names, and whether in descending order (``-size``).

        Raises InvalidOption, also for an order that the storage does not have.
        """
        capabilities = self._storage.capabilities
        descending = text.startswith("-")
        name = text.removeprefix("-")
        if name in capabilities.sort_keys and (capabilities.descending or not descending):
            return SortKey(name), descending
        keys = ", ".join(key for key in SortKey if key in capabilities.sort_keys)
        or_descending = ", or that with a - before it" if capabilities.descending else ""
        raise InvalidOption(f"sort must be one of {keys}{or_descending}.")

    def _limit(self, text: str | None) -> int:
        most = self._config.max_files_listed
        if text is None:
            return most
        if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0):
            raise InvalidOption("limit must be a whole number above 0.")
        return min(int(text), most)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Export a file, or ranges of it, if the conditions of the request hold."""
        id_ = requested_job_id(request)
        return await self._exports.give(request, name_in_path(request), id_)

    async def head(self, request: web.Request) -> web.StreamResponse:
        """The headers of GET, without a job."""
        return await self._exports.head(request, name_in_path(request))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a file, if the conditions of the request hold. Exports of it that are under way go on."""
        name = name_in_path(request)
        await self._storage.delete(name, requested_precondition(request))
        self._bus.publish(FileDeleted(name, requesting_actor(request)))
        return LingeringResponse(status=204)


def _format_cursor(entry: Entry, sort_key: SortKey) -> str:
    """The cursor with which a client gets the entries after `entry`."""
    number, _ = sort_key.cursor(entry)
    return entry.name if sort_key is SortKey.NAME else f"{number}:{entry.name}"


def _parse_cursor(text: str, sort_key: SortKey) -> Cursor:
    """The cursor that `_format_cursor` wrote as `text`. Raises InvalidOption, InvalidName."""
    if sort_key is SortKey.NAME:
        return 0, check_name(text).encode()
    number, _, name = text.partition(":")
    if not _CURSOR_NUMBER.fullmatch(number) or (sort_key is SortKey.SIZE and number.startswith("-")):
        raise InvalidOption("after must be what next was.")
    return int(number), check_name(name).encode()
