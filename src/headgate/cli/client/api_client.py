"""A server, as its command-line client sees it: calls, events, and what can go wrong with them."""

import json
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

__all__ = ["NotHeadgate", "Problem", "Remote", "Unreachable"]

#: Seconds in which a connection must be there.
CONNECT = 20.0

#: Bytes of one line of the events: a snapshot is one, and a thousand jobs of a hundred long names each are many.
LONGEST_EVENT = 64 * 1024 * 1024


class Unreachable(Exception):
    """No server answers there, or it went away in the middle."""


class Problem(Exception):
    """The server refused: its words, its status and its stable code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class NotHeadgate(Problem):
    """What answers there is no headgate: a proxy's own page, perhaps, or another service."""

    code = "not-headgate"

    def __init__(self, status: int) -> None:
        super().__init__(status, self.code, f"What answers there ({status}) is not a headgate; is the URL right?")


class Remote:
    """The headgate at `url`, spoken to with `token`. An async context manager."""

    def __init__(self, url: str, token: str | None) -> None:
        self._base = URL(url.rstrip("/") + "/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @property
    def url(self) -> str:
        return str(self._base)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            # A transfer takes as long as it takes, and a paused one longer: only a connection has a deadline.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT),
            read_bufsize=1024 * 1024,
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._session.close()

    def request(self, method: str, path: str, **options: Any) -> "_Request":
        """A call whose response is the block's own: ``async with remote.request(...) as response:``. Raises Problem for
        a refusal, Unreachable for what breaks on the way."""
        return _Request(self._session, method, self._base.join(URL(path, encoded=True)), options)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """A small call: what it answers, None if that is nothing. Raises Problem, Unreachable."""
        async with self.request(method, path, json=body) as response:
            return None if response.status == 204 else await self.told(response)

    @staticmethod
    async def told(response: aiohttp.ClientResponse) -> Any:
        """The JSON object that `response` is. Raises NotHeadgate."""
        try:
            told = json.loads(await response.text(errors="replace"))
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise NotHeadgate(response.status)
        return told

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """The events of the jobs: kinds, and what they say. Ends with the connection. Raises Problem, Unreachable."""
        async with self.request("GET", "jobs/events", read_bufsize=LONGEST_EVENT) as response:
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
    """See ``Remote.request()``."""

    def __init__(self, session: aiohttp.ClientSession, method: str, url: URL, options: dict[str, Any]) -> None:
        self._url = url
        # A redirect would be followed by another method, and the token would go along.
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
            there = response.headers.get("Location", "another address")
            raise Problem(response.status, "redirected", f"The server says that it is at {there}; name it by --url.")
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
    except (ValueError, KeyError, TypeError):  # not a headgate's: a proxy's, perhaps
        return Problem(status, f"http-{status}", f"The server answered {status}.")
