"""Authentication: which user sent a request.

The embedding service hands in an `Authenticate`; `headgate serve` uses `Tokens` (`tokens.py`) where a tokens file is
configured, `local_user` on a loopback address and `anonymous_user` on any other. The middleware asks it before every
handler and stores the user in ``request[USER]``.

Rules of this file:

- A request of an unknown user is refused with 401 before its handler runs, except on the few routes open to all.
- Without tokens a browser proves nothing by reaching the server: what it sends for a page of another origin is refused.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from headgate.errors import Forbidden, Unauthorized
from headgate.web.middleware.message import authority
from headgate.web.middleware.origin import check_origin, is_loopback

__all__ = [
    "USER",
    "Authenticate",
    "User",
    "anonymous_user",
    "authentication",
    "identify",
    "local_user",
    "only_user",
]


@dataclass(frozen=True, slots=True)
class User:
    """A user, who owns the jobs that their requests begin. An admin sees and controls the jobs of all users."""

    name: str
    admin: bool = False


#: Returns the user who sent a request, or None for an unknown one (401). May be a coroutine function. May raise any
#: HeadgateError, which becomes the answer.
Authenticate = Callable[[web.Request], User | Awaitable[User | None] | None]

#: Where a handler finds the user of its request.
USER = web.RequestKey("headgate.user", User)


def authentication(authenticate: Authenticate, *, open_to_all: frozenset[str]) -> Middleware:
    """A middleware that refuses requests of unknown users, except on the routes whose names are in `open_to_all`."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        # OPTIONS describes the interface and no user's data, and browsers send it without a token.
        is_open = request.method == hdrs.METH_OPTIONS or (resource is not None and resource.name in open_to_all)
        if not is_open:
            user = await identify(authenticate, request)
            if user is None:
                raise Unauthorized
            request[USER] = user
        return await handler(request)

    return middleware


async def identify(authenticate: Authenticate, request: web.Request) -> User | None:
    """The user who sent `request`, or None for an unknown one. Raises what `authenticate` raises."""
    user = authenticate(request)
    return await user if inspect.isawaitable(user) else user


_ONLY_USER = User("anonymous", admin=True)


def only_user(request: web.Request) -> User | None:
    """An Authenticate for a server without users: all requests are the same user's, who owns all jobs."""
    return _ONLY_USER


def local_user(origins: frozenset[str] = frozenset()) -> Authenticate:
    """An Authenticate for a server without users on a loopback address, safe from pages in this machine's browsers.

    It raises Forbidden for a request whose Host is not a name of this machine (a DNS name that was rebound to 127.0.0.1
    is none), and for one that a browser sends for a page of an origin that is neither ours nor in `origins` (RFC 6454,
    section 7; Fetch metadata's Sec-Fetch-Site).
    """

    def authenticate(request: web.Request) -> User:
        host = authority(request) or "localhost"  # an HTTP/1.0 client may leave Host out; no browser does
        try:
            names_this_machine = is_loopback(urlsplit(f"//{host}").hostname or "")
        except ValueError:
            names_this_machine = False
        if not names_this_machine:
            raise Forbidden("Without tokens, only requests to this machine by its own name are served.")
        if request.headers.get(hdrs.ORIGIN) not in origins:
            check_origin(request)
        return _ONLY_USER

    return authenticate


def anonymous_user(origins: frozenset[str] = frozenset()) -> Authenticate:
    """An Authenticate for a server that is open to all who reach it: all requests are the same user's.

    It raises Forbidden for a request that a browser sends for a page of an origin that is neither ours nor in
    `origins`: the person at that browser did not mean to send it.
    """

    def authenticate(request: web.Request) -> User:
        if request.headers.get(hdrs.ORIGIN) not in origins:
            check_origin(request)
        return _ONLY_USER

    return authenticate
