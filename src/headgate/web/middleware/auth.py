"""Who asks, and whose jobs they may see.

Rules of this room: a token is compared in constant time against every entry; a stranger's job answers exactly as one
that never was (G6); what a browser sends by itself (a cookie, or only that it is on this machine) counts only for our
own pages.
"""

import functools
import hashlib
import hmac
import inspect
import ipaddress
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from headgate.errors import ConfigError, Forbidden, Unauthorized
from headgate.jobs import Job
from headgate.web.middleware.message import authority, port_of

__all__ = [
    "USER",
    "Authenticate",
    "Tokens",
    "User",
    "anonymous_user",
    "authentication",
    "check_origin",
    "cookie_name",
    "identify",
    "is_loopback",
    "local_user",
    "may_see",
    "new_token",
    "only_user",
]


logger = logging.getLogger("headgate.web")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with jobs. An admin may see and control everybody's."""

    name: str
    admin: bool = False


#: Tells who sent a request; None: nobody we know (401). May be a coroutine function.
Authenticate = Callable[[web.Request], User | Awaitable[User | None] | None]

#: Where a handler finds the user of its request.
USER = web.RequestKey("headgate.user", User)


def cookie_name(request: web.Request) -> str:
    """The cookie in which a browser keeps a token that was given to the page. Cookies know no ports: each server on a
    host has a cookie of its own all the same."""
    port = port_of(request)
    return f"headgate_token_{port}" if port else "headgate_token"


def may_see(user: User, job: Job) -> bool:
    """May `user` see and control `job`? (G6)"""
    return user.admin or job.owner == user.name


def authentication(authenticate: Authenticate, *, open_to_all: frozenset[str]) -> Middleware:
    """A middleware that keeps everybody out whom `authenticate` does not know, except from the routes `open_to_all`."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        # OPTIONS tells what anybody may know, and a browser asks it without a token.
        is_open = request.method == hdrs.METH_OPTIONS or (resource is not None and resource.name in open_to_all)
        if not is_open:
            user = await identify(authenticate, request)
            if user is None:
                raise Unauthorized
            request[USER] = user
        return await handler(request)

    return middleware


async def identify(authenticate: Authenticate, request: web.Request) -> User | None:
    """Who sent `request`, as `authenticate` knows."""
    user = authenticate(request)
    return await user if inspect.isawaitable(user) else user


def only_user(request: web.Request) -> User | None:
    """Where no tokens are configured there is one user, and everything is theirs."""
    return _ONLY_USER


def local_user(origins: frozenset[str] = frozenset()) -> Authenticate:
    """The same on loopback, where a browser on this machine must not act for a page from elsewhere than `origins`.

    What it gives raises Forbidden if the request does not name this machine (a name that was rebound to 127.0.0.1 does
    not), or comes from another origin's page (RFC 6454, section 7; Fetch metadata's Sec-Fetch-Site).
    """

    def authenticate(request: web.Request) -> User:
        host = authority(request) or "localhost"  # HTTP/1.0 may leave it out, and no browser does
        try:
            meant_for_us = is_loopback(urlsplit(f"//{host}").hostname or "")
        except ValueError:
            meant_for_us = False
        if not meant_for_us:
            raise Forbidden("Without tokens, only requests to this machine by its own name are served.")
        if request.headers.get(hdrs.ORIGIN) not in origins:
            check_origin(request)
        return _ONLY_USER

    return authenticate


def anonymous_user(origins: frozenset[str] = frozenset()) -> Authenticate:
    """The same for everybody who reaches us. What it gives raises Forbidden if a browser acts for a page from elsewhere
    than `origins`: whoever opened that page did not mean to."""

    def authenticate(request: web.Request) -> User:
        if request.headers.get(hdrs.ORIGIN) not in origins:
            check_origin(request)
        return _ONLY_USER

    return authenticate


def check_origin(request: web.Request) -> None:
    """Raise Forbidden if a browser sent `request` for a page that is not one of this origin.

    It says so in Sec-Fetch-Site (Fetch metadata), whatever name a proxy knows us by; where it does not, over plain HTTP
    or because it is old, Origin is held against Host (RFC 6454, section 7). Other clients send neither.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is None:
        host = authority(request)
        origin = request.headers.get(hdrs.ORIGIN, f"://{host}").partition("://")[2]
        site = "same-origin" if origin.lower() == host.lower() else "cross-site"
    if site not in ("same-origin", "none"):
        raise Forbidden("Pages of other origins are not served.")


@functools.lru_cache(maxsize=1024)  # every request is asked where it comes from
def is_loopback(host: str) -> bool:
    """Does `host`, a name or an address, mean this machine and nobody else?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_ONLY_USER = User("anonymous", admin=True)


#: A line with it would let everybody in.
_OF_NOTHING = hashlib.sha256().digest()


class Tokens:
    """An Authenticate over ``user:sha256-of-token[:admin]`` lines; blank ones and those that begin with ``#`` are none.

    The token comes as ``Authorization: Bearer TOKEN``, as the header ``auth_token: TOKEN``, or, from our own page, in a
    cookie.
    Raises ConfigError for a line of any other form.
    """

    def __init__(self, text: str) -> None:
        self._users: list[tuple[bytes, User]] = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                self._users.append(self._parse(line.strip(), number))

    @classmethod
    def read(cls, path: Path) -> "Tokens":
        """Raises ConfigError if `path` cannot be read or holds no user."""
        try:
            tokens = cls(path.read_text("utf-8-sig"))
            if path.stat().st_mode & 0o004:
                logger.warning("the tokens file %s can be read by everybody on this machine", path)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The tokens file {path} cannot be read: {error}") from error
        if not tokens._users:
            raise ConfigError(f"The tokens file {path} holds no user; nobody could come in.")
        return tokens

    @staticmethod
    def _parse(line: str, number: int) -> tuple[bytes, User]:
        name, _, rest = line.partition(":")
        digest, _, flag = rest.partition(":")
        try:
            raw = bytes.fromhex(digest)
        except ValueError:
            raw = b""
        if raw == _OF_NOTHING:
            raise ConfigError(f"Line {number} of the tokens file has the digest of an empty token.")
        if not name or len(raw) != hashlib.sha256().digest_size or flag not in ("", "admin"):
            raise ConfigError(f"Line {number} of the tokens file is not user:sha256-of-token[:admin].")
        return raw, User(name, admin=flag == "admin")

    def __call__(self, request: web.Request) -> User | None:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer":
            token = request.headers.get("auth_token", "")
        if token:
            return self.user_of(token)
        user = self.user_of(request.cookies.get(cookie_name(request), ""))
        if user is not None:
            check_origin(request)
        return user

    def user_of(self, token: str) -> User | None:
        """Whose `token` is. An empty one is nobody's."""
        if not token.strip():
            return None
        digest = hashlib.sha256(token.strip().encode(errors="surrogatepass")).digest()
        found = None
        for known, user in self._users:  # all of them: how long it takes must not tell how far we came
            if hmac.compare_digest(known, digest):
                found = user
        return found


def new_token(user: str, *, admin: bool = False) -> tuple[str, str]:
    """A new token for `user`, and its line for the tokens file. Raises ConfigError for a name that cannot be used."""
    if not user or ":" in user or user.startswith("#") or not user.isprintable() or user != user.strip():
        raise ConfigError("A user's name is printable text without ':', and does not begin with '#'.")
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    return token, f"{user}:{digest}{':admin' if admin else ''}"
