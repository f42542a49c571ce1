"""Uploads and exports from the command line.

Rules of this room:

- Ctrl-C (or SIGTERM, or a terminal that is closed) terminates the job on the server, says so, and leaves nothing here.
- A file has its name here only when all of it came. What came of an export that broke is kept, and gone on with.
- What is uploaded is one file as it was at one time, or nothing.
"""

import asyncio
import io
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from headgate.cli.client.api_client import NotHeadgate, Problem, Remote, Unreachable
from headgate.cli.client.download_target import Arriving
from headgate.cli.client.remote_job import CHUNK, Bar, Counted, LocalError, as_job, in_thread
from headgate.cli.client.tus_upload import LARGE, upload_large
from headgate.errors import InvalidName
from headgate.names import check_name

__all__ = ["export", "upload"]


async def upload(remote: Remote, path: Path, bar: Bar, *, name: str | None, on_conflict: str | None) -> Any:
    """Upload the file at `path`; return the job as the server tells it. Raises LocalError, Problem, Unreachable."""
    try:
        name = check_name(name or path.name)
    except InvalidName as error:
        raise LocalError(f"{path}: {error}") from error
    try:
        counted = await in_thread(lambda: Counted(path, bar))  # a named pipe waits for somebody who writes
    except asyncio.CancelledError:
        bar.note(f"interrupted; nothing of {path} was sent")
        raise
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
    if (counted.size or 0) >= LARGE:
        counted.close()
        return await upload_large(remote, path, bar, name=name, on_conflict=on_conflict)
    form = aiohttp.MultipartWriter("form-data")
    part = form.append(_chunks(counted) if counted.size is None else io.BufferedReader(counted, CHUNK))
    # The names that browsers escape so; others read a backslash as it is.
    part.set_content_disposition("form-data", quote_fields=False, name="file", filename=name)
    query = {"on_conflict": on_conflict} if on_conflict else {}

    async def send(id_: str) -> Any:
        call = remote.request("POST", "upload", data=form, params=query, headers={"Job-Id": id_})
        async with call as response:
            return await remote.told(response)

    try:
        job = await as_job(remote, bar, send)
    except Unreachable as error:
        counted.close()
        if counted.error is None:
            raise
        raise LocalError(f"{path}: {counted.error.strerror}") from error
    except Problem:
        counted.close()
        raise
    counted.close()
    return job


async def _chunks(file: Counted) -> AsyncIterator[bytes]:
    """What comes out of a pipe, or of what does not know its size. It is not closed: a thread may be reading it."""
    while chunk := await in_thread(lambda: file.read(CHUNK) or b""):
        yield chunk


class _Sink(Protocol):
    """Where an export goes."""

    etag: str | None
    size: int

    def begin(self, etag: str | None) -> None: ...
    def write(self, data: bytes) -> None: ...
    def publish(self) -> None: ...
    def leave(self) -> None: ...
    def discard(self) -> None: ...


class _Stream:
    """Standard output, or a device or pipe: what was written is gone, and nothing is gone on with."""

    def __init__(self, name: str, path: Path | None) -> None:
        self._name = name
        self._path = path
        self._fd = sys.stdout.fileno() if path is None else -1
        self.etag: str | None = None
        self.size = 0

    def begin(self, etag: str | None) -> None:
        """All of it comes."""

    def write(self, data: bytes) -> None:
        """Raises LocalError. Blocks."""
        left = memoryview(data)
        try:
            if self._fd < 0:
                assert self._path is not None
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            raise LocalError(f"{self._path or self._name} cannot be written: {error.strerror}") from error
        self.size += len(data)

    def publish(self) -> None:
        self.discard()

    def leave(self) -> None:
        self.discard()

    def discard(self) -> None:
        if self._path is not None and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _sink(remote: Remote, name: str, target: Path | None, *, force: bool) -> _Sink:
    if target is None or (target.exists() and not target.is_file()):
        return _Stream(name, target)
    return Arriving(remote.url, name, target, force=force)


async def export(remote: Remote, name: str, target: Path | None, bar: Bar, *, force: bool) -> int:
    """Export `name` to the file `target`, or to standard output; return its bytes. Raises as `upload` does."""
    sink = _sink(remote, name, target, force=force)

    async def receive(id_: str) -> None:
        try:
            await _receive(remote, name, id_, sink, bar)
        except Unreachable as error:
            raise await _why(remote, id_, error) from error

    try:
        await as_job(remote, bar, receive)
        sink.publish()
        return sink.size
    except Unreachable:
        sink.leave()
        raise
    except Problem as error:
        if error.code in ("terminated", NotHeadgate.code) or error.status < 500:
            sink.discard()
        else:
            sink.leave()
        raise
    except BaseException:
        sink.discard()
        raise


_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


async def _receive(remote: Remote, name: str, id_: str, sink: _Sink, bar: Bar) -> None:
    headers = {"Job-Id": id_}
    if sink.size and sink.etag is not None:
        headers |= {"Range": f"bytes={sink.size}-", "If-Range": sink.etag}
    call = remote.request("POST", "export", json={"filename": name}, headers=headers)
    try:
        async with call as response:
            if "Job-Id" not in response.headers:
                raise NotHeadgate(response.status)
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status != 206 or match is None or int(match[1]) != sink.size:
                if response.status != 200:
                    raise NotHeadgate(response.status)
                sink.begin(response.headers.get("ETag"))
            elif sink.size:
                bar.note(f"going on after {sink.size} bytes")
            length = response.content_length
            total = None if length is None else sink.size + length
            bar.moved(sink.size, total)
            async for chunk in response.content.iter_chunked(CHUNK):
                await in_thread(partial(sink.write, chunk))  # a pipe may be slow, and Ctrl-C is to work
                bar.moved(sink.size, total)
    except Problem as error:
        if error.status != 416 or not sink.size:  # all of it had come
            raise


async def _why(remote: Remote, id_: str, error: Unreachable) -> Exception:
    """A broken export: the server may know more about it than the connection did."""
    with suppress(Problem, Unreachable):
        job = await remote.call("GET", f"jobs/{id_}")
        if job["state"] == "terminated":
            return Problem(409, "terminated", f"The export was terminated by {job['ended_by']}.")
        if job["state"] == "failed":
            return Problem(500, job["reason"], f"The export failed: {job['reason']}.")
    return error
