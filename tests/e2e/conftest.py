"""The server as its users run it: a process of its own, reached by curl and by aiohttp's client."""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import PATIENCE, require


@dataclass
class Process:
    """A running ``headgate serve``."""

    process: asyncio.subprocess.Process
    url: str
    root: Path
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def memory(self) -> int:
        """Resident bytes, now."""
        return self._status("VmRSS")

    def peak_memory(self) -> int:
        """Resident bytes, at most so far."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024

    def files(self) -> list[str]:
        """What ``find <root> -type f`` shows, but for what is told of resumable uploads that are complete."""
        paths = (path for path in self.root.rglob("*") if path.is_file() and not path.name.endswith(".kept.json"))
        return sorted(str(path.relative_to(self.root)) for path in paths)

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.returncode is None:
            self.process.kill()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


@asynccontextmanager
async def running(
    root: Path, *arguments: str, environment: dict[str, str] | None = None, launcher: tuple[str, ...] = ()
) -> AsyncIterator[Process]:
    """Run ``headgate serve`` on a free port; on leaving it is stopped, and its log holds no traceback.

    `launcher`: a command that runs it.
    """
    log = root.with_name(root.name + ".log")
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(*launcher, sys.executable, "-m", "headgate", "serve", "--port", "0", "--root", str(root), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=os.environ | (environment or {}),
        )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
        ready = re.fullmatch(r"headgate: (https?://\S+)/ root (.+)\n", line)
        assert ready, f"not ready: {line!r} {log.read_text()}"
        yield Process(process, ready[1], Path(ready[2]), log)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):  # it was killed, and nobody has looked yet
                process.terminate()
            await asyncio.wait_for(process.wait(), PATIENCE)
    assert "Traceback" not in log.read_text()


@dataclass
class Curl:
    """The outcome of one curl."""

    code: int
    status: int
    body: bytes


async def curl(*arguments: str, stdin: bytes | None = None) -> Curl:
    """Run curl, and wait for it."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--max-time", "120", "--write-out", "%{stderr}%{http_code}", *arguments),
        stdin=None if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    body, errors = await process.communicate(stdin)
    status = re.search(rb"(\d{3})$", errors)
    return Curl(process.returncode, int(status[1]) if status else 0, body)


#: What keeps a browser to its page: no sandbox for the superuser, and no calls home.
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


async def browse(page: Path, profile: Path) -> str:
    """Open the file `page` in Chromium, and return its document when it has loaded. It may call any origin."""
    require("chromium", shutil.which("chromium") is not None)
    process = await asyncio.create_subprocess_exec(
        *(
            "chromium",
            "--headless",
            *QUIET,
            "--disable-web-security",
            f"--user-data-dir={profile}",
            "--dump-dom",
            page.as_uri(),
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    document, _ = await asyncio.wait_for(process.communicate(), 6 * PATIENCE)
    return document.decode()


@pytest.fixture(autouse=True)
def _curl_is_there() -> None:
    require("curl", shutil.which("curl") is not None)
