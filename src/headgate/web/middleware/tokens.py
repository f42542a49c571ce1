"""Tokens: users as a file names them, one line each, ``user:sha256-of-token[:admin]``.

The server keeps digests of the tokens, never the tokens. A client sends its token with every request; our page's
browser sends it in a cookie.

Rules of this file:

- A token is compared in constant time, and with every entry: the time of the answer says nothing about the tokens.
- A cookie is sent by the browser without the user's doing, so it counts only for requests of our own page.
"""

import hashlib
import hmac
import logging
import secrets
from pathlib import Path
from typing import Self

from aiohttp import hdrs, web

from headgate.errors import ConfigError
from headgate.web.middleware.auth import User
from headgate.web.middleware.message import port_of
from headgate.web.middleware.origin import check_origin

__all__ = ["Tokens", "cookie_name", "new_token"]

logger = logging.getLogger("headgate.web")

#: A line with the digest of an empty token would let in a client that sends an empty one.
_EMPTY_TOKEN_DIGEST = hashlib.sha256().digest()


def cookie_name(request: web.Request) -> str:
    """The name of the cookie in which our page's browser keeps the token.

    The port is part of it: browsers send a host's cookies to all of its ports, and each may have its own server.
    """
    port = port_of(request)
    return f"headgate_token_{port}" if port else "headgate_token"


class Tokens:
    """An Authenticate over the lines of `text`; empty lines and lines that begin with ``#`` are skipped.

    A client sends its token as ``Authorization: Bearer TOKEN``, as ``auth_token: TOKEN``, or in the page's cookie.
    Raises ConfigError for a line of any other form.
    """

    def __init__(self, text: str) -> None:
        self._users: list[tuple[bytes, User]] = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                self._users.append(self._parse(line.strip(), number))

    @classmethod
    def read(cls, path: Path) -> Self:
        """The tokens of the file `path`. Raises ConfigError if it cannot be read or names no user."""
        try:
            tokens = cls(path.read_text("utf-8-sig"))
            if path.stat().st_mode & 0o004:
                logger.warning("the tokens file %s can be read by all users of this machine", path)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The tokens file {path} cannot be read: {error}") from error
        if not tokens._users:
            raise ConfigError(f"The tokens file {path} holds no user: every request would be refused.")
        return tokens

    @staticmethod
    def _parse(line: str, number: int) -> tuple[bytes, User]:
        name, _, rest = line.partition(":")
        digest, _, flag = rest.partition(":")
        try:
            raw = bytes.fromhex(digest)
        except ValueError:
            raw = b""
        if raw == _EMPTY_TOKEN_DIGEST:
            raise ConfigError(f"Line {number} of the tokens file has the digest of an empty token.")
        if not name or len(raw) != hashlib.sha256().digest_size or flag not in ("", "admin"):
            raise ConfigError(f"Line {number} of the tokens file is not user:sha256-of-token[:admin].")
        return raw, User(name, admin=flag == "admin")

    def __call__(self, request: web.Request) -> User | None:
        """The user whose token `request` carries, or None. Raises Forbidden for a cookie sent for another's page."""
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
        """The user whose token `token` is, or None. An empty one belongs to no user."""
        if not token.strip():
            return None
        digest = hashlib.sha256(token.strip().encode(errors="surrogatepass")).digest()
        found = None
        for known, user in self._users:  # to the end: a return would tell by its time which entry matched
            if hmac.compare_digest(known, digest):
                found = user
        return found


def new_token(user: str, *, admin: bool = False) -> tuple[str, str]:
    """A new token for `user`, and its line for the tokens file. Raises ConfigError for a name that no line can hold."""
    if not user or ":" in user or user.startswith("#") or not user.isprintable() or user != user.strip():
        raise ConfigError("A user's name is printable text without ':', and does not begin with '#'.")
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    return token, f"{user}:{digest}{':admin' if admin else ''}"
