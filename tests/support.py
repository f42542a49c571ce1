"""What the tests share: a real server on a real socket, clients that one can hold, and waiting for events.

Nothing here sleeps to let something happen; `eventually` waits for a condition and fails when it does not come.
"""

import asyncio
import io
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from headgate import Config, Job, JobInfo, User, create_app
from headgate.app import REGISTRY, local_storage
from headgate.jobs import JobRegistry
from headgate.storage import LocalStorage

BOUNDARY = "----headgate-test-boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

#: Seconds after which something that should have happened has not. Generous: machines are shared.
PATIENCE = 20.0


def require(part: str, present: bool) -> None:
    """Skip the test, by the name of the system's part that it lacks; fail it where HEADGATE_REQUIRE says so."""
    if not present:
        message = f"this machine has no {part}"
        if os.environ.get("HEADGATE_REQUIRE"):
            pytest.fail(message)
        pytest.skip(message)


async def eventually(condition: Callable[[], Any], what: str = "the condition", seconds: float = PATIENCE) -> Any:
    """Wait until `condition()` is true, and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} never came true"
        await asyncio.sleep(0.001)
    return value


def part(filename: str | None, data: bytes, *, name: str = "file", headers: str = "") -> bytes:
    """One part of a form, with the delimiter before it."""
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    return f"--{BOUNDARY}\r\n{disposition}\r\n{headers}\r\n".encode() + data + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def form(*parts: bytes) -> bytes:
    """A whole body."""
    return b"".join(parts) + END


def file_form(filename: str, data: bytes) -> bytes:
    return form(part(filename, data))


def token_users(request: web.Request) -> User | None:
    """An Authenticate for tests: ``X-User: alice``; root is an admin; without the header the user is unknown."""
    name = request.headers.get("X-User")
    return None if name is None else User(name, admin=name == "root")


def as_user(name: str) -> dict[str, str]:
    return {"X-User": name}


@dataclass
class Server:
    """A running application."""

    app: web.Application
    url: str
    root: Path
    client: aiohttp.ClientSession
    runner: web.AppRunner
    storage: LocalStorage

    @property
    def jobs(self) -> JobRegistry:
        return self.app[REGISTRY]

    def infos(self) -> list[JobInfo]:
        """All jobs that are known: the live ones, then those that have ended, the newest first in each."""
        return [job.info() for job in reversed(self.jobs.live())] + self.jobs.ended()

    @property
    def port(self) -> int:
        return self.runner.addresses[0][1]

    @property
    def path(self) -> str:
        """The prefix under which it is mounted."""
        return URL(self.url).path.rstrip("/")

    def published(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.root.iterdir() if path.is_file()}

    def staged(self) -> list[str]:
        return sorted(os.listdir(self.root / ".staging"))

    async def one_live_job(self) -> Job:
        return (await eventually(self.jobs.live, "a live job"))[0]

    async def upload(self, filename: str, data: bytes, **kwargs: Any) -> aiohttp.ClientResponse:
        headers = FORM | kwargs.pop("headers", {})
        return await self.client.post(
            self.url + "/upload", data=io.BytesIO(file_form(filename, data)), headers=headers, **kwargs
        )


@asynccontextmanager
async def serving(
    root: Path,
    *,
    handler_cancellation: bool = False,
    prefix: str = "",
    host_middleware: Any = None,
    config: dict[str, Any] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    lingering_time: float = 10.0,
    **create: Any,
) -> AsyncIterator[Server]:
    """Run an application on a real socket, mounted under `prefix` if one is given."""
    # A test that ends with a transfer under way does not mean to wait for it.
    settings = Config(root=root, **({"drain_timeout": 0} | (config or {})))
    storage = local_storage(settings)
    app = create_app(settings, **({"storage": storage} | create))
    top = app
    if host_middleware is not None:
        prefix = prefix or "/mounted"
    if prefix:
        top = web.Application(middlewares=[] if host_middleware is None else [host_middleware])
        top.add_subapp(prefix, app)
    runner = web.AppRunner(
        top,
        handler_cancellation=handler_cancellation,
        auto_decompress=False,
        access_log=None,
        lingering_time=lingering_time,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
        await site.start()
        url = f"http://127.0.0.1:{site.port}{prefix}"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE * 3)) as client:
            yield Server(app, url, root, client, runner, storage)
    finally:
        if runner.server is not None:  # the test did not stop it itself
            await runner.cleanup()


@dataclass
class HeldUpload:
    """An upload whose client sends only what the test tells it to."""

    server: Server
    headers: dict[str, str] = field(default_factory=dict)
    query: str = ""

    def __post_init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.response: asyncio.Task[tuple[int, dict[str, Any], Any]] = asyncio.create_task(self._run())
        # A test that ends its server under an upload does not owe it a look at its error.
        self.response.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _run(self) -> tuple[int, dict[str, Any], Any]:
        async def body() -> AsyncIterator[bytes]:
            while (piece := await self._pieces.get()) is not None:
                yield piece

        async with self.server.client.post(
            f"{self.server.url}/upload{self.query}", data=body(), headers=FORM | self.headers
        ) as response:
            return response.status, await response.json(), response.headers

    def send(self, data: bytes) -> None:
        self._pieces.put_nowait(data)

    def end(self) -> None:
        self._pieces.put_nowait(None)

    async def began(self, size: int = 0) -> Job:
        """Wait until this upload's job has landed `size` bytes."""
        owner = self.headers.get("X-User", "anonymous")

        def job() -> Job | None:
            mine = [job for job in self.server.jobs.live() if job.owner == owner]
            return mine[0] if mine and mine[0].bytes_done >= size else None

        return await eventually(job, f"an upload of {owner} with {size} bytes")
