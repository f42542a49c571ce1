"""Uploads and exports from the command line.

Rules of this room:

- Ctrl-C (or SIGTERM) terminates the job on the server, and says so; the server would otherwise only learn of it.
- A file has its name here only when all of it came. What came of a broken export is removed.
"""

import asyncio
import io
import os
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar
from uuid import uuid4

import aiohttp

from headgate.cli.remote import Problem, Remote, Unreachable
from headgate.errors import InvalidName
from headgate.names import check_name

__all__ = ["Bar", "LocalError", "export", "upload"]

T = TypeVar("T")

#: Bytes read and written at once.
CHUNK = 1024 * 1024

#: Seconds between looks at what the server says of a transfer: paused, slowed.
LOOK = 1.0

#: Seconds for which the server is asked to terminate a job before we leave anyway.
LAST_CALL = 5.0


class LocalError(Exception):
    """Something on this side: a file that cannot be read or written, or is there already."""


class Bar(Protocol):
    """What shows how far a transfer is."""

    def moved(self, done: int, total: int | None) -> None:
        """`done` bytes of `total` have moved."""

    def says(self, state: str) -> None:
        """The server says that the job is in `state`."""

    def note(self, text: str) -> None:
        """Something that whoever looks on should read."""


class _Counted(io.FileIO):
    """A file that tells how much of it has been read."""

    def __init__(self, path: Path, bar: Bar) -> None:
        super().__init__(path)
        status = os.fstat(self.fileno())
        self._bar = bar
        self._done = 0
        #: Bytes; None of what is no file: it ends where it ends.
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        #: What reading it has met.
        self.error: OSError | None = None

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            read = super().readinto(buffer)
        except OSError as error:
            self.error = error
            raise
        self._done += read or 0
        self._bar.moved(self._done, self.size)
        return read


async def upload(remote: Remote, path: Path, bar: Bar, *, name: str | None, on_conflict: str | None) -> Any:
    """Upload the file at `path`; return the job as the server tells it. Raises LocalError, Problem, Unreachable."""
    try:
        name = check_name(name or path.name)
    except InvalidName as error:
        raise LocalError(f"{path}: {error}") from error
    try:
        counted = _Counted(path, bar)
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
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
            return await _as_job(remote, bar, send)
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

        return await _as_job(remote, bar, receive)


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


async def _as_job(remote: Remote, bar: Bar, transfer: Callable[[str], Awaitable[T]]) -> T:
    """What `transfer` gives, as a job of ours by its id: looked at while it runs, terminated if we are interrupted."""
    id_ = str(uuid4())
    looking = asyncio.create_task(_look(remote, id_, bar))
    running = asyncio.ensure_future(transfer(id_))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # The connection is still there: the server hears a word, not only that somebody has gone.
        bar.note(await _terminate(remote, id_))
        raise
    finally:
        for task in (looking, running):
            task.cancel()
        await asyncio.wait([looking, running])
        if not running.cancelled():
            running.exception()  # looked at, so that asyncio does not log it


async def _terminate(remote: Remote, id_: str) -> str:
    """End the job `id_`; tell what has become of it."""
    try:
        async with asyncio.timeout(LAST_CALL):
            await remote.call("DELETE", f"jobs/{id_}")
    except Problem as error:
        return f"interrupted; {error}"
    except (Unreachable, TimeoutError):
        return f"interrupted; the server did not confirm that job {id_} has ended"
    return f"interrupted; job {id_} is terminated on the server"


async def _look(remote: Remote, id_: str, bar: Bar) -> None:
    while True:
        await asyncio.sleep(LOOK)
        with suppress(Problem, Unreachable):
            bar.says((await remote.call("GET", f"jobs/{id_}"))["state"])
