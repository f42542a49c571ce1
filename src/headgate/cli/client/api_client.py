"""The HTTP client of the command line: calls of a headgate server, its events, and their errors.

A call raises `Problem` for an answer that refuses it, `NotHeadgate` for an answer of another service, and `Unreachable`
if there is no answer, or if the connection breaks in the middle of one.
"""

import json
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

__all__ = ["ApiClient", "NotHeadgate", "Problem", "Unreachable"]

#: Seconds in which a connection must be established.
CONNECT_TIMEOUT_SECONDS = 20.0

#: The longest line of an event, in bytes: a snapshot is one line, with up to thousands of jobs of many long names.
MAX_EVENT_LINE_BYTES = 64 * 1024 * 1024


class Unreachable(Exception):
    """No server answers at the address, or the connection broke."""


class Problem(Exception):
    """The server refused a call: its message, the HTTP status, and the stable code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class NotHeadgate(Problem):
    """The answer is not one of a headgate server: it is a proxy's own page, or another service's."""

    code = "not-headgate"

    def __init__(self, status: int) -> None:
        super().__init__(status, self.code, f"The answer ({status}) is not one of a headgate server; is the URL right?")


class ApiClient:
    """A client of the headgate server at `url`, which sends `token` with every call. An async context manager."""

    def __init__(self, url: str, token: str | None) -> None:
        self._base = URL(url.rstrip("/") + "/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @property
    def url(self) -> str:
        return str(self._base)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            # No deadline but for connecting: a transfer may take hours, and may be paused.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS),
            read_bufsize=1024 * 1024,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._session.close()

    def request(self, method: str, path: str, **options: Any) -> "_Request":
        """A call as a context: ``async with remote.request(...) as response:``.

        Entering raises Problem or Unreachable; a connection that breaks within the block raises Unreachable.
        """
        return _Request(self._session, method, self._base.join(URL(path, encoded=True)), options)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make a call with `body` as JSON; returns the JSON object of the answer, None for 204.

        Raises Problem, Unreachable.
        """
        async with self.request(method, path, json=body) as response:
            return None if response.status == 204 else await self.json_object(response)

    @staticmethod
    async def json_object(response: aiohttp.ClientResponse) -> Any:
        """The JSON object in the body of `response`. Raises NotHeadgate for anything else."""
        try:
            value = json.loads(await response.text(errors="replace"))
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise NotHeadgate(response.status)
        return value

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """The events of ``GET /jobs/events``, as kind and JSON, until the connection ends.

        Raises Problem, Unreachable.
        """
        async with self.request("GET", "jobs/events", read_bufsize=MAX_EVENT_LINE_BYTES) as response:
            kind, data = "message", ""
            async for raw in response.content:
                field, _, value = raw.decode().rstrip("\r\n").partition(": ")
                match field:
                    case "event":
                        kind = value
                    case "data":
                        data += value
                    case "" if data and not value:
                        yield kind, json.loads(data)
                        kind, data = "message", ""


class _Request:
    """The context that ``ApiClient.request()`` returns."""

    def __init__(self, session: aiohttp.ClientSession, method: str, url: URL, options: dict[str, Any]) -> None:
        self._url = url
        # Redirects are not followed: that would change the method, and send the token to another server.
        self._context = session.request(method, url, allow_redirects=False, **options)

    async def __aenter__(self) -> aiohttp.ClientResponse:
        try:
            response = await self._context.__aenter__()
            if response.status < 300:
                return response
            try:
                text = await response.text(errors="replace")
            finally:
                await self._context.__aexit__(None, None, None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error
        if response.status < 400:
            location = response.headers.get("Location", "another address")
            raise Problem(
                response.status, "redirected", f"The server says that it is at {location}; give that as --url."
            )
        raise _problem(response.status, text)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._context.__aexit__(exc_type, exc, tb)
        if isinstance(exc, aiohttp.ClientError | TimeoutError | ConnectionError):
            raise self._unreachable(exc) from exc

    def _unreachable(self, error: BaseException) -> Unreachable:
        return Unreachable(f"{self._url}: {error or type(error).__name__}")


def _problem(status: int, text: str) -> Problem:
    try:
        body = json.loads(text)
        return Problem(status, body["code"], body.get("detail") or body["title"])
    except (ValueError, KeyError, TypeError):  # not of a headgate server: perhaps of a proxy
        return Problem(status, f"http-{status}", f"The server answered {status}.")
