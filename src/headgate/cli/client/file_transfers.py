"""Uploads and exports from the command line.

Rules of this file:

- Ctrl-C (or SIGTERM, or closing the terminal) terminates the job on the server, says so, and leaves nothing here.
- An exported file gets its name here only when it is complete. After a broken connection the next export continues it.
- An upload contains one file as it was at one time; a file that changes while it is sent is not uploaded.
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

from headgate.cli.client.api_client import ApiClient, NotHeadgate, Problem, Unreachable
from headgate.cli.client.download_target import PartialDownload
from headgate.cli.client.remote_job import CHUNK_BYTES, Bar, CountedFile, LocalError, as_job, in_thread
from headgate.cli.client.tus_upload import LARGE_FILE_BYTES, upload_large
from headgate.errors import InvalidName
from headgate.names import check_name

__all__ = ["export", "upload"]


async def upload(remote: ApiClient, path: Path, bar: Bar, *, name: str | None, on_conflict: str | None) -> Any:
    """Upload the file at `path`; returns the server's JSON of the job. Raises LocalError, Problem, Unreachable."""
    try:
        name = check_name(name or path.name)
    except InvalidName as error:
        raise LocalError(f"{path}: {error}") from error
    try:
        counted = await in_thread(lambda: CountedFile(path, bar))  # opening a named pipe waits for its writer
    except asyncio.CancelledError:
        bar.note(f"interrupted; nothing of {path} was sent")
        raise
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
    if (counted.size or 0) >= LARGE_FILE_BYTES:
        counted.close()
        return await upload_large(remote, path, bar, name=name, on_conflict=on_conflict)
    form = aiohttp.MultipartWriter("form-data")
    part = form.append(_chunks(counted) if counted.size is None else io.BufferedReader(counted, CHUNK_BYTES))
    # Without quoting, as browsers send names: a backslash stays one.
    part.set_content_disposition("form-data", quote_fields=False, name="file", filename=name)
    query = {"on_conflict": on_conflict} if on_conflict else {}

    async def send(id_: str) -> Any:
        call = remote.request("POST", "upload", data=form, params=query, headers={"Job-Id": id_})
        async with call as response:
            return await remote.json_object(response)

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


async def _chunks(file: CountedFile) -> AsyncIterator[bytes]:
    """The bytes of a pipe, or of another file without a known size. It is not closed: a thread may be reading it."""
    while chunk := await in_thread(lambda: file.read(CHUNK_BYTES) or b""):
        yield chunk


class _Destination(Protocol):
    """Where the bytes of an export are written; see `PartialDownload`, which can be continued."""

    etag: str | None
    size: int

    def begin(self, etag: str | None) -> None: ...
    def write(self, data: bytes) -> None: ...
    def publish(self) -> None: ...
    def leave(self) -> None: ...
    def discard(self) -> None: ...


class _StreamDestination:
    """Standard output, a device or a pipe: what was written cannot be taken back, and no export is continued."""

    def __init__(self, name: str, path: Path | None) -> None:
        self._name = name
        self._path = path
        self._fd = sys.stdout.fileno() if path is None else -1
        self.etag: str | None = None
        self.size = 0

    def begin(self, etag: str | None) -> None:
        """Nothing is kept of an earlier export."""

    def write(self, data: bytes) -> None:
        """Write `data`. Blocks. Raises LocalError."""
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


def _open_destination(remote: ApiClient, name: str, target: Path | None, *, force: bool) -> _Destination:
    if target is None or (target.exists() and not target.is_file()):
        return _StreamDestination(name, target)
    return PartialDownload(remote.url, name, target, force=force)


async def export(remote: ApiClient, name: str, target: Path | None, bar: Bar, *, force: bool) -> int:
    """Export `name` to the file `target`, or to standard output (None); returns the number of its bytes.

    Raises LocalError, Problem, Unreachable.
    """
    destination = _open_destination(remote, name, target, force=force)

    async def receive(id_: str) -> None:
        try:
            await _receive(remote, name, id_, destination, bar)
        except Unreachable as error:
            raise await _cause_of_break(remote, id_, error) from error

    try:
        await as_job(remote, bar, receive)
        destination.publish()
        return destination.size
    except Unreachable:
        destination.leave()
        raise
    except Problem as error:
        if error.code in ("terminated", NotHeadgate.code) or error.status < 500:
            destination.discard()
        else:
            destination.leave()
        raise
    except BaseException:
        destination.discard()
        raise


_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


async def _receive(remote: ApiClient, name: str, id_: str, destination: _Destination, bar: Bar) -> None:
    headers = {"Job-Id": id_}
    if destination.size and destination.etag is not None:
        headers |= {"Range": f"bytes={destination.size}-", "If-Range": destination.etag}
    call = remote.request("POST", "export", json={"filename": name}, headers=headers)
    try:
        async with call as response:
            if "Job-Id" not in response.headers:
                raise NotHeadgate(response.status)
            match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if response.status != 206 or match is None or int(match[1]) != destination.size:
                if response.status != 200:
                    raise NotHeadgate(response.status)
                destination.begin(response.headers.get("ETag"))
            elif destination.size:
                bar.note(f"continuing after {destination.size} bytes")
            length = response.content_length
            total = None if length is None else destination.size + length
            bar.moved(destination.size, total)
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                await in_thread(partial(destination.write, chunk))  # a pipe may block, and Ctrl-C must still work
                bar.moved(destination.size, total)
    except Problem as error:
        if error.status != 416 or not destination.size:  # else all of it had arrived before
            raise


async def _cause_of_break(remote: ApiClient, id_: str, error: Unreachable) -> Exception:
    """The reason why an export broke off, by the server's job; `error` if the server does not know either."""
    with suppress(Problem, Unreachable):
        job = await remote.call("GET", f"jobs/{id_}")
        if job["state"] == "terminated":
            return Problem(409, "terminated", f"The export was terminated by {job['ended_by']}.")
        if job["state"] == "failed":
            return Problem(500, job["reason"], f"The export failed: {job['reason']}.")
    return error
