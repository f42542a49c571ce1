"""The page: static files of this package, without a build step, read once at start.

GET /    GET /static/{name}
"""

import hashlib
import importlib.resources
import mimetypes
from datetime import UTC, datetime

from aiohttp import hdrs, web

from headgate.web.expect import deferred
from headgate.web.jobs.job_links import public_path
from headgate.web.responses import LingeringResponse
from headgate.wire.conditions import CONDITIONS, Validators, is_not_modified
from headgate.wire.fields import field_values

__all__ = ["PAGE_ROUTES", "PageRoutes"]

#: Names of the routes that are open to all: the page's files contain no user's data.
PAGE_ROUTES = frozenset({"page", "page-without-slash", "static"})

#: The page loads from its own origin only, runs no inline code, and makes no markup from text.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
)

_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    # Not "no-referrer": a browser would then send no Origin with a form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Browsers ask each time, and are mostly answered with 304: so an upgrade shows at once.
    hdrs.CACHE_CONTROL: "no-cache",
}


class PageRoutes:
    """The handlers of the page and its static files."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str, str]] = {}  # content, type, validator
        for file in importlib.resources.files("headgate.web.page").joinpath("static").iterdir():
            content = file.read_bytes()
            type_ = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            self._files[file.name] = content, type_, hashlib.sha256(content).hexdigest()[:20]

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/", self.page, name="page", expect_handler=deferred)
        router.add_get("", self.add_slash, name="page-without-slash", expect_handler=deferred)
        router.add_get("/static/{name}", self.static, name="static", expect_handler=deferred)

    async def page(self, request: web.Request) -> LingeringResponse:
        return self._answer(request, "index.html")

    async def add_slash(self, request: web.Request) -> web.StreamResponse:
        """Redirect the prefix under which the application is mounted to the page: its links need the final slash."""
        raise web.HTTPPermanentRedirect(public_path(request, str(request.app.router["page"].url_for())))

    async def static(self, request: web.Request) -> LingeringResponse:
        return self._answer(request, request.match_info["name"])

    def _answer(self, request: web.Request, name: str) -> LingeringResponse:
        if name not in self._files:
            raise web.HTTPNotFound
        content, type_, validator = self._files[name]
        there = Validators(validator, datetime.fromtimestamp(0, UTC))
        if is_not_modified(field_values(request.headers, CONDITIONS), there, dates=False):
            answer = LingeringResponse(status=304, headers=_HEADERS)
        else:
            answer = LingeringResponse(body=content, content_type=type_, charset="utf-8", headers=_HEADERS)
        answer.etag = validator
        return answer
