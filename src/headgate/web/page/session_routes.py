"""Signing in to the page: the browser keeps the token in a cookie, which no script can read and no other site can send.

GET /session    POST /session    DELETE /session
"""

from aiohttp import hdrs, web

from headgate.config import Config
from headgate.errors import MalformedRequest, Unauthorized
from headgate.web.expect import deferred
from headgate.web.jobs.job_links import public_path
from headgate.web.json_body import parse_json, read_text
from headgate.web.middleware.auth import Authenticate, User, identify
from headgate.web.middleware.origin import check_origin
from headgate.web.middleware.tokens import Tokens, cookie_name
from headgate.web.responses import LingeringResponse, json_response

__all__ = ["SESSION_ROUTES", "SessionRoutes"]

#: Names of the routes that are open to all: a client that is not signed in needs them to sign in.
SESSION_ROUTES = frozenset({"session"})


class SessionRoutes:
    """The handlers of ``/session``.

    One can sign in only with `Tokens`, not with an embedding service's own Authenticate.
    """

    def __init__(self, config: Config, authenticate: Authenticate) -> None:
        self._config = config
        self._authenticate = authenticate

    def add_to(self, router: web.UrlDispatcher) -> None:
        resource = router.add_resource("/session", name="session")
        resource.add_route("GET", self.show, expect_handler=deferred)
        if isinstance(self._authenticate, Tokens):
            resource.add_route("POST", self.sign_in, expect_handler=deferred)
            resource.add_route("DELETE", self.sign_out, expect_handler=deferred)

    async def show(self, request: web.Request) -> LingeringResponse:
        """The user of this request, if any, and whether one can sign in here."""
        return self._session_response(await identify(self._authenticate, request))

    async def sign_in(self, request: web.Request) -> LingeringResponse:
        """Set the cookie, if ``{"token": "..."}`` is a user's token. Raises Unauthorized."""
        check_origin(request)
        text = await read_text(request, limit=self._config.max_request_size, seconds=self._config.idle_timeout)
        fields = parse_json(text)
        token = fields.get("token") if isinstance(fields, dict) else None
        if not isinstance(token, str):
            raise MalformedRequest('The body needs a "token".')
        assert isinstance(self._authenticate, Tokens)
        user = self._authenticate.user_of(token)
        if user is None:
            raise Unauthorized("This token is not valid.")
        answer = self._session_response(user)
        answer.set_cookie(
            cookie_name(request),
            token.strip(),
            path=self._path(request),
            httponly=True,
            samesite="Strict",
            # Behind a proxy that ends TLS the request is plain; the browser still tells the scheme of its page.
            secure=request.secure or request.headers.get(hdrs.ORIGIN, "").startswith("https:"),
        )
        return answer

    async def sign_out(self, request: web.Request) -> LingeringResponse:
        """Delete the cookie."""
        check_origin(request)
        answer = self._session_response(None)
        answer.del_cookie(cookie_name(request), path=self._path(request))
        return answer

    def _session_response(self, user: User | None) -> LingeringResponse:
        known = None if user is None else {"name": user.name, "admin": user.admin}
        return json_response({"user": known, "sign_in": isinstance(self._authenticate, Tokens)})

    @staticmethod
    def _path(request: web.Request) -> str:
        """The prefix under which the application is mounted: the cookie is for nothing else."""
        return public_path(request, str(request.app.router["session"].url_for()).removesuffix("session"))
