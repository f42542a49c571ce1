"""Large uploads, which survive their connection, their server's restart, and this process: by tus.

Rules of this room:

- Where an upload is, is remembered in a file of the user's, under what makes the file that is sent the same one: where
  it lies, its size, its time. Whoever changes it begins anew.
- The server says how far it is; what we have read means nothing.
"""

import asyncio
import hashlib
import io
import os
import time
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

from headgate.cli.client.api_client import NotHeadgate, Problem, Remote, Unreachable
from headgate.cli.client.remote_job import CHUNK, LAST_CALL, Bar, Changed, Counted, LocalError, as_job, same

__all__ = ["LARGE", "upload_large"]

#: Bytes from which on a file is worth more than one request.
LARGE = 8 * 1024 * 1024

#: Seconds before another attempt: at first, and at most.
SOON = 0.5
LATER = 15.0

#: Seconds without a byte after which nobody is tried any more. A server that is moved is back by then.
GIVE_UP = 600.0

_VERSION = {"Tus-Resumable": "1.0.0"}


class _Memory:
    """Where the upload of one file to one server is, for the next process."""

    def __init__(self, remote: Remote, path: Path, name: str) -> None:
        status = path.stat()
        told = (remote.url, str(path.resolve()), *map(str, same(status)), name)
        state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        key = hashlib.sha256("\n".join(told).encode(errors="surrogateescape")).hexdigest()
        self._file = Path(state).expanduser() / "headgate" / "uploads" / key

    def get(self) -> str | None:
        """The id of its job, if there is one."""
        with suppress(OSError, UnicodeDecodeError):
            return self._file.read_text().strip() or None
        return None

    def set(self, id_: str) -> None:
        with suppress(OSError):  # a home that cannot be written to: then this process goes on alone
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(id_ + "\n")

    def forget(self) -> None:
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


async def upload_large(remote: Remote, path: Path, bar: Bar, *, name: str, on_conflict: str | None) -> Any:
    """Upload the file at `path`, in as few requests as it takes; return the job as the server tells it.

    Raises LocalError, Problem, Unreachable.
    """
    sending: _Sending | None = None
    try:
        memory = _Memory(remote, path, name)
        sending = _Sending(remote, path, bar, name, on_conflict, memory)
        known = memory.get()
        if known is not None and not await sending.is_unfinished(known):
            known = None
        sending.known = known is not None
        job = await as_job(remote, bar, sending.run, known)
    except asyncio.CancelledError:
        memory.forget()  # its job is terminated
        raise
    except (Changed, FileNotFoundError) as error:
        memory.forget()
        if sending is not None:
            await sending.terminate()
        raise LocalError(f"{path}: {Changed().strerror}") from error
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
    return job | {"files": [{"name": job["names"][0], "size": job["bytes_done"]}]}


class _Sending:
    """One file on its way."""

    def __init__(
        self, remote: Remote, path: Path, bar: Bar, name: str, on_conflict: str | None, memory: _Memory
    ) -> None:
        self._remote = remote
        self._path = path
        status = path.stat()
        self._size = status.st_size
        self._was = same(status)
        self._id: str | None = None
        self._bar = bar
        self._name = name
        self._on_conflict = on_conflict
        self._memory = memory
        #: Does the server have some of it?
        self.known = False

    async def run(self, id_: str) -> Any:
        """Send it as the job `id_`, however many requests that takes."""
        offset, wait, since, lost = -1, SOON, time.monotonic(), False
        self._id = id_
        while True:
            if same(self._path.stat()) != self._was:
                raise Changed
            try:
                now = await self._probe(id_) if self.known else await self._create(id_)
                if lost:
                    self._bar.note(f"going on after {now} bytes")
                if now > offset:
                    offset, wait, since = now, SOON, time.monotonic()
                lost = False
                if offset < self._size:
                    await self._append(id_, offset)
                self._memory.forget()
                job = await self._remote.call("GET", f"jobs/{id_}")
                if job["state"] != "completed":
                    raise Changed
                return job
            except (Problem, Unreachable) as error:
                passes = _passes(error) and self.known
                if not passes or time.monotonic() - since > GIVE_UP:
                    if isinstance(error, Problem) and error.status != 507:  # what is full may be made room on
                        self._memory.forget()
                    raise
                if not lost:
                    self._bar.note(f"{error}; trying again")
                lost = True
            await asyncio.sleep(wait)
            wait = min(2 * wait, LATER)

    async def is_unfinished(self, id_: str) -> bool:
        """Does the server have some of it, and wait for the rest?"""
        try:
            return await self._probe(id_) < self._size
        except Problem as error:
            return _passes(error)

    async def _create(self, id_: str) -> int:
        metadata = f"filename {b64encode(self._name.encode()).decode()}"
        headers = {"Job-Id": id_, "Upload-Length": str(self._size), "Upload-Metadata": metadata}
        query = {"on_conflict": self._on_conflict} if self._on_conflict else {}
        async with self._remote.request("POST", "tus/", headers=_VERSION | headers, params=query) as response:
            if "Tus-Resumable" not in response.headers:
                raise NotHeadgate(response.status)
        self.known = True
        self._memory.set(id_)
        return 0

    async def _probe(self, id_: str) -> int:
        async with self._remote.request("HEAD", f"tus/{id_}", headers=_VERSION) as response:
            offset = response.headers.get("Upload-Offset", "")
            if not (offset.isascii() and offset.isdigit()):
                raise NotHeadgate(response.status)
            return int(offset)

    async def terminate(self) -> None:
        """It is not to be gone on with."""
        if self._id is not None:
            with suppress(Problem, Unreachable, TimeoutError):
                async with asyncio.timeout(LAST_CALL):
                    await self._remote.call("DELETE", f"jobs/{self._id}")

    async def _append(self, id_: str, offset: int) -> None:
        headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        counted = Counted(self._path, self._bar, offset)
        with io.BufferedReader(counted, CHUNK) as file:
            try:
                async with self._remote.request("PATCH", f"tus/{id_}", headers=_VERSION | headers, data=file):
                    pass
            except Unreachable:
                if counted.error is not None:
                    raise counted.error from None
                raise


def _passes(error: Problem | Unreachable) -> bool:
    """May another attempt fare better?"""
    if isinstance(error, Unreachable):
        return True
    passing = error.status in (408, 423, 429) or (error.status >= 500 and error.status != 507)
    return passing or error.code == "mismatching-upload-offset"
