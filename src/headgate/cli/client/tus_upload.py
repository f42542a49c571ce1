"""Large uploads, by tus: they survive a broken connection, a restart of the server, and the end of this process.

Rules of this file:

- The job's id is saved in the user's state directory, under a key of the server, the file's path, size and time, and
  its name. If the file has changed since, there is no such key, and the upload begins anew.
- Only the server's answer says how many bytes it has; the bytes that this process has sent do not count.
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

from headgate.cli.client.api_client import ApiClient, NotHeadgate, Problem, Unreachable
from headgate.cli.client.remote_job import (
    CHUNK_BYTES,
    TERMINATE_TIMEOUT_SECONDS,
    Bar,
    CountedFile,
    LocalError,
    SourceChanged,
    as_job,
    file_identity,
)

__all__ = ["LARGE_FILE_BYTES", "upload_large"]

#: The size in bytes from which on a file is sent by tus, which takes two requests or more.
LARGE_FILE_BYTES = 8 * 1024 * 1024

#: Seconds until the next attempt: after the first failure, and at most (they double each time).
FIRST_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 15.0

#: Seconds of attempts without a new byte after which the upload fails. A server that is moved is back by then.
GIVE_UP_SECONDS = 600.0

_VERSION = {"Tus-Resumable": "1.0.0"}


class _SavedUpload:
    """The saved job id of the upload of one file to one server, for the next process."""

    def __init__(self, remote: ApiClient, path: Path, name: str) -> None:
        status = path.stat()
        identity = (remote.url, str(path.resolve()), *map(str, file_identity(status)), name)
        state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        key = hashlib.sha256("\n".join(identity).encode(errors="surrogateescape")).hexdigest()
        self._file = Path(state).expanduser() / "headgate" / "uploads" / key

    def get(self) -> str | None:
        """The id, if one is saved."""
        with suppress(OSError, UnicodeDecodeError):
            return self._file.read_text().strip() or None
        return None

    def set(self, id_: str) -> None:
        with suppress(OSError):  # without a writable home only this process can continue the upload
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(id_ + "\n")

    def forget(self) -> None:
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


async def upload_large(remote: ApiClient, path: Path, bar: Bar, *, name: str, on_conflict: str | None) -> Any:
    """Upload the file at `path` with as many requests as it takes; returns the server's JSON of the job.

    Raises LocalError, Problem, Unreachable.
    """
    sending: _TusUpload | None = None
    try:
        saved = _SavedUpload(remote, path, name)
        sending = _TusUpload(remote, path, bar, name, on_conflict, saved)
        known = saved.get()
        if known is not None and not await sending.is_unfinished(known):
            known = None
        sending.known = known is not None
        job = await as_job(remote, bar, sending.run, known)
    except asyncio.CancelledError:
        saved.forget()  # its job is terminated
        raise
    except (SourceChanged, FileNotFoundError) as error:
        saved.forget()
        if sending is not None:
            await sending.terminate()
        raise LocalError(f"{path}: {SourceChanged().strerror}") from error
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from error
    return job | {"files": [{"name": job["names"][0], "size": job["bytes_done"]}]}


class _TusUpload:
    """One file that is being sent."""

    def __init__(
        self, remote: ApiClient, path: Path, bar: Bar, name: str, on_conflict: str | None, saved: _SavedUpload
    ) -> None:
        self._remote = remote
        self._path = path
        status = path.stat()
        self._size = status.st_size
        self._was = file_identity(status)
        self._id: str | None = None
        self._bar = bar
        self._name = name
        self._on_conflict = on_conflict
        self._saved = saved
        #: Does the server have the upload, so that it can be continued?
        self.known = False

    async def run(self, id_: str) -> Any:
        """Send the file as the job `id_`, with new attempts until it is complete.

        Raises SourceChanged, Problem, Unreachable.
        """
        offset, wait, since, lost = -1, FIRST_RETRY_SECONDS, time.monotonic(), False
        self._id = id_
        while True:
            if file_identity(self._path.stat()) != self._was:
                raise SourceChanged
            try:
                now = await self._probe(id_) if self.known else await self._create(id_)
                if lost:
                    self._bar.note(f"continuing after {now} bytes")
                if now > offset:
                    offset, wait, since = now, FIRST_RETRY_SECONDS, time.monotonic()
                lost = False
                if offset < self._size:
                    await self._append(id_, offset)
                self._saved.forget()
                job = await self._remote.call("GET", f"jobs/{id_}")
                if job["state"] != "completed":
                    raise SourceChanged
                return job
            except (Problem, Unreachable) as error:
                passes = _is_temporary(error) and self.known
                if not passes or time.monotonic() - since > GIVE_UP_SECONDS:
                    if isinstance(error, Problem) and error.status != 507:  # a full disk may have room later
                        self._saved.forget()
                    raise
                if not lost:
                    self._bar.note(f"{error}; trying again")
                lost = True
            await asyncio.sleep(wait)
            wait = min(2 * wait, MAX_RETRY_SECONDS)

    async def is_unfinished(self, id_: str) -> bool:
        """Has the server an incomplete upload `id_`?"""
        try:
            return await self._probe(id_) < self._size
        except Problem as error:
            return _is_temporary(error)

    async def _create(self, id_: str) -> int:
        metadata = f"filename {b64encode(self._name.encode()).decode()}"
        headers = {"Job-Id": id_, "Upload-Length": str(self._size), "Upload-Metadata": metadata}
        query = {"on_conflict": self._on_conflict} if self._on_conflict else {}
        async with self._remote.request("POST", "tus/", headers=_VERSION | headers, params=query) as response:
            if "Tus-Resumable" not in response.headers:
                raise NotHeadgate(response.status)
        self.known = True
        self._saved.set(id_)
        return 0

    async def _probe(self, id_: str) -> int:
        async with self._remote.request("HEAD", f"tus/{id_}", headers=_VERSION) as response:
            offset = response.headers.get("Upload-Offset", "")
            if not (offset.isascii() and offset.isdigit()):
                raise NotHeadgate(response.status)
            return int(offset)

    async def terminate(self) -> None:
        """Terminate the job on the server, if it was begun."""
        if self._id is not None:
            with suppress(Problem, Unreachable, TimeoutError):
                async with asyncio.timeout(TERMINATE_TIMEOUT_SECONDS):
                    await self._remote.call("DELETE", f"jobs/{self._id}")

    async def _append(self, id_: str, offset: int) -> None:
        headers = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
        counted = CountedFile(self._path, self._bar, offset)
        with io.BufferedReader(counted, CHUNK_BYTES) as file:
            try:
                async with self._remote.request("PATCH", f"tus/{id_}", headers=_VERSION | headers, data=file):
                    pass
            except Unreachable:
                if counted.error is not None:
                    raise counted.error from None
                raise


def _is_temporary(error: Problem | Unreachable) -> bool:
    """May another attempt succeed?"""
    if isinstance(error, Unreachable):
        return True
    temporary = error.status in (408, 423, 429) or (error.status >= 500 and error.status != 507)
    return temporary or error.code == "mismatching-upload-offset"
