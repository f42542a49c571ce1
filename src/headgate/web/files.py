"""Published files over HTTP.

GET /files    DELETE /files/{name}
"""

from collections.abc import Collection
from typing import Any

from aiohttp import web

from headgate.config import Config
from headgate.errors import InvalidOption
from headgate.names import check_name
from headgate.storage import Entry, Storage
from headgate.web.answer import Answer, json_answer, rfc3339
from headgate.web.expect import deferred

__all__ = ["FileRoutes"]


class FileRoutes:
    """The handlers of ``/files``. `generated`: the names of exports that are made when they are asked for."""

    def __init__(self, config: Config, storage: Storage, generated: Collection[str]) -> None:
        self._config = config
        self._storage = storage
        self._generated = [_json(name, None) for name in sorted(generated)]

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/files", self.list, expect_handler=deferred)
        router.add_delete("/files/{name}", self.delete, expect_handler=deferred)

    async def list(self, request: web.Request) -> Answer:
        """What can be exported, by name: at most ``?limit=``, those after ``?after=``; generated ones come first."""
        limit = self._limit(request.query.get("limit"))
        after = request.query.get("after", "")
        entries = await self._storage.list(check_name(after) if after else "", limit + 1)
        files = [_json(entry.name, entry) for entry in entries[:limit]]
        body = {
            "files": files if after else self._generated + files,
            "next": files[-1]["name"] if len(entries) > limit else None,
        }
        return json_answer(body)

    def _limit(self, text: str | None) -> int:
        most = self._config.max_files_listed
        if text is None:
            return most
        if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0):
            raise InvalidOption("limit must be a whole number above 0.")
        return min(int(text), most)

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a file. Exports of it that are under way go on."""
        await self._storage.delete(check_name(request.match_info["name"]))
        return Answer(status=204)


def _json(name: str, entry: Entry | None) -> dict[str, Any]:
    return {
        "name": name,
        "size": None if entry is None else entry.size,
        "modified_at": None if entry is None else rfc3339(entry.modified_at),
        "generated": entry is None,
    }
