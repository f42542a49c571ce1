"""Clients that are written in JavaScript: installed by npm once, run by node, unmodified."""

import asyncio
import fcntl
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support import require

CLIENTS = Path(__file__).with_name("clients")


def install(where: Path) -> Path:
    """Have the packages of `CLIENTS`, and its scripts, in the directory `where`. Other processes may do so too."""
    for part in ("npm", "node"):
        require(part, shutil.which(part) is not None)
    packages(CLIENTS, where)
    return where


def packages(source: Path, where: Path) -> None:
    """Have the packages that `source` names, and its scripts, in the directory `where`. Raises AssertionError."""
    with (where / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted, installed = (source / "package.json").read_text(), where / "installed.json"
        if not installed.exists() or installed.read_text() != wanted:
            (where / "package.json").write_text(wanted)
            options = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
            done = subprocess.run(("npm", "install", *options), cwd=where, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            installed.write_text(wanted)
        for script in source.glob("*.mjs"):
            shutil.copy(script, where)


class Node:
    """A running script."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def succeeded(self) -> None:
        """Wait for its end, which is to be a good one."""
        _, errors = await self._process.communicate()
        assert self._process.returncode == 0, errors.decode()

    async def failed(self) -> str:
        """Wait for its end, which is to be a bad one, and return what it said."""
        _, errors = await self._process.communicate()
        assert self._process.returncode == 1, errors.decode()
        return errors.decode()

    def kill(self) -> None:
        self._process.kill()


@asynccontextmanager
async def node(clients: Path, script: str, **told: Any) -> AsyncIterator[Node]:
    """Run `script` with what it is `told`; on leaving it has ended."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(clients / script), json.dumps(told)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Node(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(clients: Path, script: str, **told: Any) -> None:
    """Run `script` to its good end."""
    async with node(clients, script, **told) as running:
        await running.succeeded()
