"""A transfer as a job of ours: shown while it runs, and terminated if we are interrupted."""

import asyncio
import io
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from headgate.cli.remote import Problem, Remote, Unreachable

__all__ = ["CHUNK", "Bar", "Counted", "LocalError", "as_job"]

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


class Counted(io.FileIO):
    """A file that tells how much of it has been read, from `offset` on."""

    def __init__(self, path: Path, bar: Bar, offset: int = 0) -> None:
        super().__init__(path)
        status = os.fstat(self.fileno())
        if offset:
            self.seek(offset)
        self._bar = bar
        self._done = offset
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
