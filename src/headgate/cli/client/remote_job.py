"""A transfer as a job of ours: shown while it runs, and terminated if we are interrupted."""

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

from headgate.cli.client.api_client import Problem, Remote, Unreachable

__all__ = ["CHUNK", "LAST_CALL", "Bar", "Changed", "Counted", "LocalError", "as_job", "in_thread", "same"]

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


def same(status: os.stat_result) -> tuple[int, ...]:
    """What two looks at a file have in common if it is the same one, and has not changed between them."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Changed(OSError):
    """A file is not what it was when it began to be sent."""

    def __init__(self) -> None:
        super().__init__(errno.ESTALE, "it has changed while it was sent; nothing of it is kept")


class Counted(io.FileIO):
    """A file that tells how much of it has been read, from `offset` on.

    Its last bytes are given out only if it is still the file that it was when it was opened: whoever has all of it has
    one file, and not the beginning of one and the end of another. Reading raises Changed otherwise.
    """

    def __init__(self, path: Path, bar: Bar, offset: int = 0) -> None:
        super().__init__(path)
        status = os.fstat(self.fileno())
        if offset:
            self.seek(offset)
        self._path = path
        self._bar = bar
        self._done = offset
        self._was = same(status)
        #: Bytes; None of what is no file, or does not know its size, as in /proc: it ends where it ends.
        self.size = status.st_size if stat.S_ISREG(status.st_mode) and status.st_size else None
        #: What reading it has met.
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
            is_same = same(os.stat(self._path)) == same(os.fstat(self.fileno())) == self._was and done == self.size
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise Changed


async def in_thread(function: Callable[[], T]) -> T:
    """Call `function`, which may wait for ever, in a thread that nobody waits for when the process ends."""
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
        with suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(tell, result, problem)

    threading.Thread(target=run, daemon=True).start()
    return await outcome


async def as_job(remote: Remote, bar: Bar, transfer: Callable[[str], Awaitable[T]], id_: str | None = None) -> T:
    """What `transfer` gives, as a job of ours by its id: looked at while it runs, terminated if we are interrupted.

    `id_`: the job's, if it was begun before.
    """
    id_ = id_ or str(uuid4())
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
