"""Giving stored files out.

Rules of this room:

- An export that stops half-way never ends with a clean end of body (G5): whatever goes wrong after the first byte
  aborts the connection. So the last chunk, and the answer that all is well, are left to aiohttp, after the job is done.
- Nothing is read ahead of the client: more is asked for when what came before has gone, and nothing at all while the
  job is paused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from headgate.errors import StorageFailed
from headgate.jobs import Job
from headgate.lowlevel.thread_pools import DIGESTS
from headgate.storage import Source
from headgate.transfer.digester import Digester
from headgate.transfer.outbound.abort import aborting_on_error
from headgate.transfer.outbound.flush import flush
from headgate.transfer.outbound.sendfile import sendfile
from headgate.transfer.watchdog import ClientWait

__all__ = ["Piece", "digest_stored", "send_stored"]

#: Bytes of a stored file that are held back until the job is past its point of no return. They fit an empty buffer, so
#: that nobody waits for a slow client there.
TAIL = 16 * 1024

#: Bytes read and written at once where sendfile cannot be used (TLS).
READ_SLICE = 256 * 1024


#: Bytes read at once for a digest: enough that a turn of two threads is nothing beside it.
DIGEST_SLICE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """`length` bytes of a stored file from `start` on, and what is sent before them."""

    start: int
    length: int
    head: bytes = b""


async def send_stored(
    job: Job,
    request: web.Request,
    response: web.StreamResponse,
    source: Source,
    waited: ClientWait,
    *,
    pieces: Sequence[Piece],
    closing: bytes = b"",
) -> None:
    """Send `pieces` of `source`, one after the other, and `closing` as the body of `response`. `waited` measures how
    long the client makes us wait.

    The job passes its point of no return before its last bytes go out: a client that has all of them has them from a
    job that nobody can terminate any more (G2). The caller returns the response, and aiohttp ends it. Raises
    Disconnected, StorageFailed, or what stopped the job, and then the connection is gone.
    """
    response.content_length = sum(len(piece.head) + piece.length for piece in pieces) + len(closing)
    last = pieces[-1]
    held = min(TAIL, last.length)
    with aborting_on_error(request, response):
        await job.gate.opened()  # nothing leaves a paused job, be it a header
        if not response.content_length:
            job.finish()
        await response.prepare(request)
        if not response.content_length:
            return
        for piece in pieces:
            if piece.head:
                await job.gate.opened()
                with waited:
                    await response.write(piece.head)
            end = piece.start + piece.length - (held if piece is last else 0)
            sent = piece.start
            if sent < end:
                await flush(request, waited)
                sent = await sendfile(job, request.transport, source, sent, end, waited)
            while sent < end:
                size = min(READ_SLICE, end - sent)
                if not job.gate.open:
                    size = await job.gate.acquire(size)
                chunk = await _read(source, sent, size)
                await job.gate.opened()
                with waited:
                    await response.write(chunk)
                job.advance(len(chunk))
                sent += len(chunk)
        tail = await _read(source, last.start + last.length - held, held)
        await job.gate.acquire_all(held)
        await flush(request, waited)
        await job.gate.opened()
        job.finish()
        await response.write(tail + closing)  # into an empty buffer: this does not wait
        job.advance(held)


async def digest_stored(source: Source, algorithm: str) -> dict[str, bytes]:
    """The digest of `source`, which is read for it from end to end. Raises StorageFailed."""
    digester = Digester({}, algorithm)
    for offset in range(0, source.size, DIGEST_SLICE):
        data = await _read(source, offset, min(DIGEST_SLICE, source.size - offset))
        await DIGESTS.run(partial(digester.update, data))
    return digester.wanted


async def _read(source: Source, offset: int, size: int) -> bytes:
    chunk = await source.read(offset, size)
    if len(chunk) < size:
        raise StorageFailed("The file became shorter while it was sent.")
    return chunk
