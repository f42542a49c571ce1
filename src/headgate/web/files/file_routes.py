"""Published files over HTTP.

GET /files    GET, HEAD, DELETE /files/{name} (PUT is an upload)
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

#: A size, or a time in microseconds, which may lie before the epoch.
_NUMBER = re.compile(r"-?[0-9]{1,20}")


#: Listings that are made at once: those that wait for the same look at the directory share it.
LISTINGS_AT_ONCE = 16


class FileRoutes:
    """The handlers of ``/files``. `generated`: the names of exports that are made when they are asked for."""

    def __init__(
        self, config: Config, storage: Storage, exports: ExportRoutes, generated: Collection[str], bus: EventBus
    ) -> None:
        self._config = config
        self._storage = storage
        self._exports = exports
        self._bus = bus
        self._reserved = frozenset(generated)
        self._turns = FairSemaphore(LISTINGS_AT_ONCE)
        self._generated = [listed_file_json(name, None) for name in sorted(generated)]

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/files", self.list, expect_handler=deferred)
        router.add_get(FILE_PATH, self.get, allow_head=False, expect_handler=deferred)
        router.add_head(FILE_PATH, self.head, expect_handler=deferred)
        router.add_delete(FILE_PATH, self.delete, expect_handler=deferred)

    async def list(self, request: web.Request) -> LingeringResponse:
        """What can be exported: at most ``?limit=``, by ``?sort=``, those after ``?after=``; generated ones first."""
        limit = self._limit(request.query.get("limit"))
        sort_key, descending = self._sort_key(request.query.get("sort", SortKey.NAME))
        after = text_in_query(request, "after") or ""
        cursor = _parse_cursor(after, sort_key) if after else None
        async with self._turns.of(request[USER].name):
            entries = await self._storage.list(cursor, limit + 1, sort_key, descending=descending)
        more = len(entries) > limit
        # A file that somebody put under the name of a generated export cannot be asked for.
        files = [listed_file_json(entry.name, entry) for entry in entries[:limit] if entry.name not in self._reserved]
        body = {
            "files": files if after else self._generated + files,
            "next": _format_cursor(entries[limit - 1], sort_key) if more else None,
        }
        return json_response(body)

    def _sort_key(self, text: str) -> tuple[SortKey, bool]:
        """``size``, or ``-size`` for the largest first. Raises InvalidOption for an order that the storage lacks,
        too."""
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
        """Export a file, or ranges of it, if the conditions hold; a job like any other."""
        id_ = requested_job_id(request)
        return await self._exports.give(request, name_in_path(request), id_)

    async def head(self, request: web.Request) -> web.StreamResponse:
        """What GET would say of it. No job: nothing moves."""
        return await self._exports.head(request, name_in_path(request))

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a file, if the conditions hold. Exports of it that are under way go on."""
        name = name_in_path(request)
        await self._storage.delete(name, requested_precondition(request))
        self._bus.publish(FileDeleted(name, requesting_actor(request)))
        return LingeringResponse(status=204)


def _format_cursor(entry: Entry, sort_key: SortKey) -> str:
    """Where `entry` stands in the list, for a client to go on from there."""
    number, _ = sort_key.cursor(entry)
    return entry.name if sort_key is SortKey.NAME else f"{number}:{entry.name}"


def _parse_cursor(text: str, sort_key: SortKey) -> Cursor:
    """Read what `_format_cursor` wrote. Raises InvalidOption, InvalidName."""
    if sort_key is SortKey.NAME:
        return 0, check_name(text).encode()
    number, _, name = text.partition(":")
    if not _NUMBER.fullmatch(number) or (sort_key is SortKey.SIZE and number.startswith("-")):
        raise InvalidOption("after must be what next was.")
    return int(number), check_name(name).encode()
