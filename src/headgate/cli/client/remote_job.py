"""A transfer of the command line as a job of the server.

`as_job` runs a transfer under an id that this client chose, shows the job's state, and terminates it on the server when
the command is interrupted. `CountedFile` is the file that is sent.
"""

import asyncio
import errno
import io
import os
import stat
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from uuid import uuid4

from headgate.cli.client.api_client import ApiClient, Problem, Unreachable

__all__ = [
    "CHUNK_BYTES",
    "TERMINATE_TIMEOUT_SECONDS",
    "Bar",
    "CountedFile",
    "LocalError",
    "SourceChanged",
    "as_job",
    "file_identity",
    "in_thread",
]

T = TypeVar("T")

#: Bytes read and written at once.
CHUNK_BYTES = 1024 * 1024

#: Seconds between two requests for the job's state, which shows that another client paused it.
POLL_SECONDS = 1.0

#: Seconds to wait for the server to confirm that a job is terminated, before the command ends anyway.
TERMINATE_TIMEOUT_SECONDS = 5.0


class LocalError(Exception):
    """An error on this machine: a file cannot be read or written, or exists already."""


class Bar(Protocol):
    """The display of a transfer's progress."""

    def moved(self, done: int, total: int | None) -> None:
        """`done` bytes of `total` have moved."""

    def says(self, state: str) -> None:
        """The server says that the job is in `state`."""

    def note(self, text: str) -> None:
        """Show `text`, a sentence for the user."""


def file_identity(status: os.stat_result) -> tuple[int, ...]:
    """Device, inode, size and time: they are equal for a file that is the same one and has not changed."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class SourceChanged(OSError):
    """The file that is being sent has changed since it was opened."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, "it has changed while it was sent; nothing of it is kept")


class CountedFile(io.FileIO):
    """The file at `path`, read from `offset` on, which shows on `bar` how much of it has been read.

    Its last bytes are returned only if the file has not changed since it was opened; otherwise reading raises
    SourceChanged. So the server never gets the beginning of one version and the end of another.
    """

    def __init__(self, path: Path, bar: Bar, offset: int = 0) -> None:
        super().__init__(path)
        status = os.fstat(self.fileno())
        if offset:
            self.seek(offset)
        self._path = path
        self._bar = bar
        self._done = offset
        self._was = file_identity(status)
        #: Its bytes; None for a pipe, and for a file whose size is not known before it is read, as in /proc.
        self.size = status.st_size if stat.S_ISREG(status.st_mode) and status.st_size else None
        #: The error of reading it, if there was one.
        self.error: OSError | None = None

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            read = super().readinto(buffer)
            if self.size is not None and (not read or self._done + read >= self.size):
                self._check(self._done + (read or 0))
        except OSError as error:
            self.error = error
            raise
        self._done += read or 0
        self._bar.moved(self._done, self.size)
        return read

    def _check(self, done: int) -> None:
        try:
            is_same = (
                file_identity(os.stat(self._path)) == file_identity(os.fstat(self.fileno())) == self._was
                and done == self.size
            )
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise SourceChanged


async def in_thread(function: Callable[[], T]) -> T:
    """Call `function`, which may block for ever, in a daemon thread: the process can end without it."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(cast("T", result))

    def run() -> None:
        result: T | None = None
        problem: BaseException | None = None
        try:
            result = function()
        except BaseException as error:
            problem = error
        with suppress(RuntimeError):  # the loop is closed: no coroutine waits for the result any more
            loop.call_soon_threadsafe(tell, result, problem)

    threading.Thread(target=run, daemon=True).start()
    return await outcome


async def as_job(remote: ApiClient, bar: Bar, transfer: Callable[[str], Awaitable[T]], id_: str | None = None) -> T:
    """Run `transfer` with the id of its job; returns its result.

    Meanwhile the job's state is shown on `bar`. If this task is cancelled, the job is terminated on the server first.
    `id_`: the id of a job that was begun before; None for a new one.
    """
    id_ = id_ or str(uuid4())
    polling = asyncio.create_task(_poll(remote, id_, bar))
    running = asyncio.ensure_future(transfer(id_))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        # Over another connection, while the transfer's is still open: to the server it is a terminate, no disconnect.
        bar.note(await _terminate(remote, id_))
        raise
    finally:
        for task in (polling, running):
            task.cancel()
        await asyncio.wait([polling, running])
        if not running.cancelled():
            running.exception()  # retrieved, so that asyncio does not log it


async def _terminate(remote: ApiClient, id_: str) -> str:
    """Terminate the job `id_`; returns a sentence about the outcome."""
    try:
        async with asyncio.timeout(TERMINATE_TIMEOUT_SECONDS):
            await remote.call("DELETE", f"jobs/{id_}")
    except Problem as error:
        return f"interrupted; {error}"
    except (Unreachable, TimeoutError):
        return f"interrupted; the server did not confirm that job {id_} has ended"
    return f"interrupted; job {id_} is terminated on the server"


async def _poll(remote: ApiClient, id_: str, bar: Bar) -> None:
    while True:
        await asyncio.sleep(POLL_SECONDS)
        with suppress(Problem, Unreachable):
            bar.says((await remote.call("GET", f"jobs/{id_}"))["state"])
