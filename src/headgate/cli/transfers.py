"""Uploads and exports from the command line.

Rules of this room:

- Ctrl-C (or SIGTERM) terminates the job on the server, and says so; the server would otherwise only learn of it.
- A file has its name here only when all of it came. What came of a broken export is removed.
"""

import asyncio
import io
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp

from headgate.cli.remote import Problem, Remote, Unreachable
from headgate.cli.resumable import LARGE, upload_large
from headgate.cli.transfer import CHUNK, Bar, Counted, LocalError, as_job
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
        counted = Counted(path, bar)
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
    if (counted.size or 0) >= LARGE:
        counted.close()
        return await upload_large(remote, path, bar, name=name, on_conflict=on_conflict)
    with io.BufferedReader(counted, CHUNK) as file:
        form = aiohttp.MultipartWriter("form-data")
        part = form.append(file if counted.size is not None else _chunks(file))
        part.set_content_disposition("form-data", quote_fields=False, name="file", filename=name)
        query = {"on_conflict": on_conflict} if on_conflict else {}

        async def send(id_: str) -> Any:
            call = remote.request("POST", "upload", data=form, params=query, headers={"Job-Id": id_})
            async with call as response:
                return await response.json()

        try:
            return await as_job(remote, bar, send)
        except Unreachable as error:
            if counted.error is None:
                raise
            raise LocalError(f"{path}: {counted.error.strerror}") from error


async def _chunks(file: io.BufferedIOBase) -> AsyncIterator[bytes]:
    """What comes out of a pipe."""
    while chunk := await asyncio.to_thread(file.read1, CHUNK):
        yield chunk


async def export(remote: Remote, name: str, target: Path | None, bar: Bar, *, force: bool) -> int:
    """Export `name` to the file `target`, or to standard output; return its bytes. Raises as `upload` does."""
    arriving: AbstractContextManager[BinaryIO]
    arriving = nullcontext(sys.stdout.buffer) if target is None else _arriving(target, force=force)
    with arriving as file:

        async def receive(id_: str) -> int:
            try:
                return await _receive(remote, name, id_, file, bar)
            except Unreachable as error:
                raise await _why(remote, id_, error) from error

        return await as_job(remote, bar, receive)


async def _receive(remote: Remote, name: str, id_: str, file: BinaryIO, bar: Bar) -> int:
    done = 0
    call = remote.request("POST", "export", json={"filename": name}, headers={"Job-Id": id_})
    async with call as response:
        total = response.content_length
        async for chunk in response.content.iter_chunked(CHUNK):
            try:
                await asyncio.to_thread(file.write, chunk)  # a pipe may be slow, and Ctrl-C is to work
            except OSError as error:
                raise LocalError(f"{name} cannot be written: {error.strerror}") from error
            done += len(chunk)
            bar.moved(done, total)
    file.flush()
    return done


async def _why(remote: Remote, id_: str, error: Unreachable) -> Exception:
    """A broken export: the server may know more about it than the connection did."""
    with suppress(Problem, Unreachable):
        job = await remote.call("GET", f"jobs/{id_}")
        if job["state"] == "terminated":
            return Problem(409, "terminated", f"The export was terminated by {job['ended_by']}.")
        if job["state"] == "failed":
            return Problem(500, job["reason"], f"The export failed: {job['reason']}.")
    return error


@contextmanager
def _arriving(target: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A file beside `target` that takes its name when the block has ended well, and is gone otherwise.

    What is no file (a device, a pipe) has no name to take: it is written to.
    """
    if target.exists() and not target.is_file():
        try:
            with target.open("wb") as file:
                yield file
        except OSError as error:
            raise LocalError(f"{target} cannot be written: {error.strerror}") from error
        return
    if target.exists() and not force:
        raise LocalError(f"{target} is there already; --force replaces it.")
    part = None
    try:
        fd, part = tempfile.mkstemp(prefix=".headgate-", suffix=".part", dir=target.parent)
        with os.fdopen(fd, "wb") as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)  # mkstemp lets nobody else read it
        if force:
            os.replace(part, target)
        else:
            os.link(part, target)  # unlike a rename, this refuses a name that came up meanwhile
    except FileExistsError:
        raise LocalError(f"{target} is there already; --force replaces it.") from None
    except OSError as error:
        raise LocalError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        if part is not None:
            with suppress(FileNotFoundError):
                os.unlink(part)
