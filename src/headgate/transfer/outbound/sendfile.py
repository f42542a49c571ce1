"""Giving a stored file to a socket by the kernel's sendfile.

asyncio has a sendfile of its own. This one asks the gate between two calls of the kernel's, so that nothing goes out of
a paused job, however much was asked for; it counts what has gone by each of them; and it needs no help of the loop's.

Rules of this room:

- Plain connections only, and only while nothing of the transport's own waits to be sent.
- It waits under a descriptor of its own: a loop lets nobody wait for that of a transport.
- A turn of the loop sends no more than `MOST`, and nothing that would have to be read from the disk first.
"""

import asyncio
import os

from headgate.errors import Disconnected
from headgate.jobs import Job
from headgate.lowlevel.sockets import is_plain, socket_of
from headgate.storage import Source
from headgate.transfer.watchdog import ClientWait

__all__ = ["sendfile"]

#: Bytes that one call may take: as cheap as more, and what is on its way stays in the processor's cache.
MOST = 256 * 1024

#: Bytes that are looked after at once: that they are in the page cache, and that the loop tells when there is room.
WINDOW = 4 * 1024 * 1024


async def sendfile(
    job: Job, transport: asyncio.Transport | None, source: Source, start: int, end: int, waited: ClientWait
) -> int:
    """Send the bytes of `source` from `start` up to `end`, and count them; return where that ended.

    That is before `end` where it cannot be done so, and wherever something is wrong with the file: who reads on from
    there will be told. Raises Disconnected.
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
            size = min(WINDOW, end - sending.at)
            free = job.gate.open
            if not free:
                size = await job.gate.acquire(min(size, MOST))  # what was granted goes, though the rate falls
                free = job.gate.open
            await source.ready(sending.at, size)
            await sending.up_to(sending.at + size, waited, free=free)
            if transport.is_closing():
                raise Disconnected
        return sending.at


class _SendfileCall:
    """Where a job is in sending the file `file` to the socket `sock`."""

    __slots__ = ("_end", "_file", "_free", "_job", "_sock", "_transport", "able", "at")

    def __init__(self, job: Job, transport: asyncio.Transport, sock: int, file: int, at: int) -> None:
        self._job = job
        self._transport = transport
        self._sock = sock
        self._file = file
        self._free = True
        self._end = at
        self.at = at  # what is sent next
        self.able = True

    async def up_to(self, end: int, waited: ClientWait, *, free: bool) -> None:
        """Send as far as `end`, or as the gate lets it: `free` if it was open, so that nothing has been paid for."""
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
        """Send what fits; is there more that may be sent?"""
        gate = self._job.gate
        if gate.paused or (self._free and not gate.open) or self._transport.is_closing():
            return False
        try:
            sent = os.sendfile(self._sock, self._file, self.at, min(MOST, self._end - self.at))
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
