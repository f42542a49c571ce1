"""A tus client that does just what a test tells it to."""

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from multidict import CIMultiDictProxy
from yarl import URL

from headgate.storage.local.partial.stored_record import StoredRecord
from support import Server

VERSION = {"Tus-Resumable": "1.0.0"}
BYTES = {"Content-Type": "application/offset+octet-stream"}


def named(name: str) -> dict[str, str]:
    """Metadata that names the file."""
    return {"Upload-Metadata": f"filename {base64.b64encode(name.encode()).decode()}"}


@dataclass
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        return self.headers.get(name)


async def call(server: Server, method: str, url: str, headers: dict[str, str] | None = None, **options: Any) -> Answer:
    """One request to a path of `server`, or to a URL, as tus clients send it. A header of None is left out."""
    sent = {name: value for name, value in (VERSION | (headers or {})).items() if value is not None}
    where = url if "://" in url else server.url + url
    async with server.client.request(method, where, headers=sent, **options) as response:
        return Answer(response.status, response.headers, await response.read())


async def create(server: Server, length: int | None = None, **options: Any) -> str:
    """A new upload; its URL."""
    headers = {} if length is None else {"Upload-Length": str(length)}
    answer = await call(server, "POST", "/tus/", headers | options.pop("headers", {}), **options)
    assert answer.status == 201, answer
    return answer["Location"]


async def patch(server: Server, url: str, offset: int, data: Any, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await call(server, "PATCH", url, BYTES | {"Upload-Offset": str(offset)} | sent, data=data)


@contextmanager
def held(data: bytes) -> Iterator[AsyncIterator[bytes]]:
    """A body that has `data`, and then nothing for as long as the block runs; then it ends."""
    done = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield data
        await done.wait()

    try:
        yield body()
    finally:
        done.set()


async def offset(server: Server, url: str) -> int:
    answer = await call(server, "HEAD", url)
    assert answer.status == 200, answer
    return int(answer["Upload-Offset"])


def job_id(url: str) -> str:
    return URL(url).name


def begin_chunk_at(root, url, start):
    """Write into the record of the upload at `url` that its bytes from `start` on were never confirmed: as if the
    process had been killed before it knew whether their checksum is right."""
    path = root / ".staging" / f"{job_id(url)}.kept.json"
    path.write_text(replace(StoredRecord.load(path.read_text()), chunk_start=start).dump())
