"""Requests for which there is no route: 404, or 405 where the path has other methods; 204 with Allow for OPTIONS.

aiohttp answers these itself, but it handles an ``Expect`` header before that, in a way that echoes the header's value
and fails for one that is not text (`headgate.web.expect`). So the last resource of the router is a `Fallback`, which
matches every request that no other resource matches.
"""

from aiohttp import hdrs, web

from headgate.web.expect import deferred
from headgate.web.responses import LingeringResponse

__all__ = ["Fallback"]


class Fallback(web.DynamicResource):
    """The resource behind all others of `router`, those included that are added after it."""

    def __init__(self, router: web.UrlDispatcher) -> None:
        super().__init__("/{path:.*}")
        self._router = router

    async def resolve(self, request: web.Request) -> tuple[web.UrlMappingMatchInfo | None, set[str]]:
        allowed: set[str] = set()
        for resource in self._router.resources():
            if resource is not self:
                match, methods = await resource.resolve(request)
                if match is not None:
                    return None, set()
                allowed |= methods

        async def refuse(request: web.Request) -> web.StreamResponse:
            if request.method == hdrs.METH_OPTIONS and allowed:  # RFC 9110, 9.3.7
                return LingeringResponse(
                    status=204, headers={hdrs.ALLOW: ", ".join(sorted(allowed | {hdrs.METH_OPTIONS}))}
                )
            raise web.HTTPMethodNotAllowed(request.method, allowed) if allowed else web.HTTPNotFound

        return web.UrlMappingMatchInfo({}, web.ResourceRoute("*", refuse, self, expect_handler=deferred)), set()
