"""Pages of other origins as clients (Fetch standard, "CORS protocol"): pages of `config.cors_origins`, and no others.

Rules of this file:

- A browser is never asked to send credentials (cookies) for such a page: the page has a token of its own and sends it.
- A header that a client may send, or may read, is added to `REQUEST_HEADERS` or `RESPONSE_HEADERS` here.
- On a server without tokens, a page of a configured origin may do what our own page may.
"""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from headgate.web.responses import LingeringResponse

__all__ = ["cors", "exposing"]

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

#: The request headers that a page may set, besides those that the Fetch standard always allows.
REQUEST_HEADERS = (
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

#: The response headers that a page may read, besides those that the Fetch standard always allows.
RESPONSE_HEADERS = (
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

#: Seconds for which a browser may keep the answer to a preflight; browsers cap it at two hours.
_PREFLIGHT_MAX_AGE_SECONDS = 7200


def cors(origins: frozenset[str]) -> Middleware:
    """A middleware that answers the preflight of a page of one of `origins`: what it may send."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        if is_preflight and request.headers.get(hdrs.ORIGIN) in origins:
            return LingeringResponse(
                status=204,
                headers={
                    hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
                    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ", ".join(REQUEST_HEADERS),
                    hdrs.ACCESS_CONTROL_MAX_AGE: str(_PREFLIGHT_MAX_AGE_SECONDS),
                },
            )
        return await handler(request)

    return middleware


def exposing(origins: frozenset[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """An ``on_response_prepare`` that lets a page of one of `origins` read the answer."""

    async def expose(request: web.Request, response: web.StreamResponse) -> None:
        if not origins:
            return
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ", ".join(RESPONSE_HEADERS)

    return expose
