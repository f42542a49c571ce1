"""Pages of other origins as clients (Fetch standard, "CORS protocol"): those that are configured, and no others.

Rules of this room: what a browser sends by itself is never asked for (no credentials); such a page has a token and
sends it. Without a token's protection, on loopback, a configured origin is as good as our own.
"""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from headgate.web.responses import LingeringResponse

__all__ = ["cors", "exposing"]

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

#: What a page may send besides what it always may.
_HEADERS = (
    "Authorization",
    "auth_token",
    "Content-Type",
    "Content-Disposition",
    "Content-Digest",
    "Repr-Digest",
    "Want-Repr-Digest",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "If-Range",
    "Range",
    "Job-Id",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "X-HTTP-Method-Override",
    "X-Request-ID",
    "X-Requested-With",
)

#: What it may read of an answer besides what it always may.
_EXPOSED = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Job-Id",
    "Link",
    "Location",
    "Repr-Digest",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Expires",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Metadata",
    "Upload-Offset",
)

#: Seconds for which a browser need not ask again; browsers cap it at two hours.
_MAX_AGE = 7200


def cors(origins: frozenset[str]) -> Middleware:
    """A middleware that answers whether a page of one of `origins` may send what it wants to send."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        asks = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        if asks and request.headers.get(hdrs.ORIGIN) in origins:
            return LingeringResponse(
                status=204,
                headers={
                    hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
                    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(_HEADERS),
                    hdrs.ACCESS_CONTROL_MAX_AGE: str(_MAX_AGE),
                },
            )
        return await handler(request)

    return middleware


def exposing(origins: frozenset[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """An ``on_response_prepare``: let a page of one of `origins` read the answer."""

    async def expose(request: web.Request, response: web.StreamResponse) -> None:
        if not origins:
            return
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ", ".join(_EXPOSED)

    return expose
