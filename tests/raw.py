"""A client that sends just the bytes that a test gives it, and reads the answers to them one by one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from multidict import CIMultiDict

from support import PATIENCE


@dataclass
class Reply:
    """An answer; interim ones are passed over."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        return self.headers.get(name)

    @property
    def code(self) -> str | None:
        """The problem's code; None where there is no problem, or one that is not told as one."""
        if self.headers.get("Content-Type", "").partition(";")[0] != "application/problem+json":
            return None
        told: dict[str, Any] = json.loads(self.body)
        return told["code"]


@dataclass
class Line:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """As far as it is taken: a server that has answered need not read on."""
        with suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    async def reply(self, *, bodiless: bool = False) -> Reply | None:
        """The next answer; None if the connection ends before it is whole. `bodiless`: it is to a HEAD."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._reply(bodiless)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _reply(self, bodiless: bool) -> Reply:
        status = 100
        while status < 200:
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].decode("latin-1").split("\r\n")
            status = int(first.split()[1])
        pairs = (line.partition(":")[::2] for line in lines)
        headers = CIMultiDict((name, value.strip()) for name, value in pairs)
        if bodiless or status in (204, 304):
            return Reply(status, headers, b"")
        if "Content-Length" in headers:
            return Reply(status, headers, await self.reader.readexactly(int(headers["Content-Length"])))
        if headers.get("Transfer-Encoding") != "chunked":
            return Reply(status, headers, await self.reader.read())
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()
        return Reply(status, headers, body)

    async def ended(self) -> bool:
        """Does it end, with nothing more to read?"""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def silent(self, seconds: float) -> bool:
        """Does nothing come for so long?"""
        try:
            async with asyncio.timeout(seconds):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Line]:
    """A connection to the server at `url`."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=2**20)
    try:
        yield Line(reader, writer)
    finally:
        writer.transport.abort()


async def ask(url: str, *pieces: bytes) -> Reply | None:
    """The first answer to what is sent."""
    async with connected(url) as line:
        sending = asyncio.create_task(line.send(*pieces))
        try:
            return await line.reply(bodiless=pieces[0].startswith(b"HEAD"))
        finally:
            sending.cancel()


def request(method: str, target: str, body: bytes | None = None, *lines: str, version: str = "HTTP/1.1") -> bytes:
    """A request of `method`, with header `lines`; its length is told where it has a body."""
    head = [f"{method} {target} {version}", *lines]
    if not any(line.lower().startswith("host:") for line in lines):
        head.append("Host: localhost")
    if body is not None:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + (body or b"")
