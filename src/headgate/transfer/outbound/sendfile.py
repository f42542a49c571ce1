"""Sending a stored file by the kernel's sendfile(2).

asyncio's own sendfile cannot be paused. This one checks the job's gate before every system call, so that no byte is
added to the socket of a paused job, and counts the bytes of each call.

Rules of this file:

- Only for plain connections, and only while the transport's own buffer is empty.
- It waits for a duplicate of the socket's descriptor: an event loop refuses to watch that of a transport.
- One turn of the loop sends at most `BYTES_PER_CALL`, all of which are in the page cache: the loop never waits for the
  disk.
"""

import asyncio
import os

from headgate.errors import Disconnected
from headgate.jobs import Job
from headgate.lowlevel.sockets import is_plain, socket_of
from headgate.storage import Source
from headgate.transfer.watchdog import ClientWait

__all__ = ["sendfile"]

#: Bytes of one system call: larger calls are no cheaper, and these fit the processor's cache.
BYTES_PER_CALL = 256 * 1024

#: Bytes for which the page cache and the socket are prepared together.
BYTES_PER_ROUND = 4 * 1024 * 1024


async def sendfile(
    job: Job, transport: asyncio.Transport | None, source: Source, start: int, end: int, waited: ClientWait
) -> int:
    """Send the bytes of `source` from `start` up to `end`, and count them; returns the offset behind the last one.

    That is before `end` if the connection or the file does not allow sendfile, or if reading failed: the caller goes on
    by reading from there, which raises the error. Raises Disconnected.
    """
    if transport is None:
        raise Disconnected
    sock = socket_of(transport)
    if sock is None or source.file is None or not is_plain(transport):
        return start
    try:
        own = sock.dup()
    except OSError:  # no descriptor is left
        return start
    with own:
        sending = _SendfileCall(job, transport, own.fileno(), source.file.fileno(), start)
        while sending.able and sending.at < end:
            size = min(BYTES_PER_ROUND, end - sending.at)
            free = job.gate.open
            if not free:
                # These bytes are sent, also if the rate falls meanwhile.
                size = await job.gate.acquire(min(size, BYTES_PER_CALL))
                free = job.gate.open
            await source.ready(sending.at, size)
            await sending.up_to(sending.at + size, waited, free=free)
            if transport.is_closing():
                raise Disconnected
        return sending.at


class _SendfileCall:
    """The state of sending the file `file` to the socket `sock`: `at` is the next offset, `able` if it can go on."""

    __slots__ = ("_end", "_file", "_free", "_job", "_sock", "_transport", "able", "at")

    def __init__(self, job: Job, transport: asyncio.Transport, sock: int, file: int, at: int) -> None:
        self._job = job
        self._transport = transport
        self._sock = sock
        self._file = file
        self._free = True
        self._end = at
        self.at = at
        self.able = True

    async def up_to(self, end: int, waited: ClientWait, *, free: bool) -> None:
        """Send up to `end`, or until the gate closes. `free`: the gate was open, so no bytes were acquired from it."""
        self._end, self._free = end, free
        if not self._push():
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._sock, self._push_on, done)
        try:
            with waited:
                await done
        finally:
            loop.remove_writer(self._sock)

    def _push_on(self, done: "asyncio.Future[None]") -> None:
        if not self._push() and not done.done():
            done.set_result(None)

    def _push(self) -> bool:
        """Send as much as the socket takes. Returns True if more may be sent once it has room."""
        gate = self._job.gate
        if gate.paused or (self._free and not gate.open) or self._transport.is_closing():
            return False
        try:
            sent = os.sendfile(self._sock, self._file, self.at, min(BYTES_PER_CALL, self._end - self.at))
        except BlockingIOError:
            return True
        except ConnectionError:
            self._transport.abort()
            return False
        except OSError:
            sent = 0
        self._job.advance(sent)
        self.at += sent
        self.able = sent > 0
        return self.able and self.at < self._end
