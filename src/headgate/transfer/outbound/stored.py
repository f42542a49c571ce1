"""Sending stored files: the ranges of one file, by sendfile where the connection is plain.

Rules of this file:

- An export that stops half-way never ends with a clean end of body (G5): an error after the first byte aborts the
  connection. So aiohttp writes the end of the body, after the job has completed.
- Nothing is read ahead of the client: the next bytes are read when those before have left the process, and none while
  the job is paused.
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

#: The last bytes of an export, which are sent once the job has passed its point of no return. They fit an empty write
#: buffer, so that the job does not wait for a slow client there.
TAIL_BYTES = 16 * 1024

#: Bytes read and written at once where sendfile cannot be used (TLS).
READ_SLICE_BYTES = 256 * 1024


#: Bytes read at once for a digest: so many that handing them to two threads costs little beside the digest.
DIGEST_SLICE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """`length` bytes of a stored file from `start` on, and the part header (`head`) that is sent before them."""

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
    """Send `pieces` of `source`, one after the other, and `closing` as the body of `response`.

    `waited` measures the time in which the server waits for the client. The job passes its point of no return before
    its last bytes are sent: a client that has received all of them never reads of a terminated job (G2). The caller
    returns the response, and aiohttp ends it. Raises Disconnected, StorageFailed, or what stopped the job; then the
    connection has been aborted.
    """
    response.content_length = sum(len(piece.head) + piece.length for piece in pieces) + len(closing)
    last = pieces[-1]
    tail_size = min(TAIL_BYTES, last.length)
    with aborting_on_error(request, response):
        await job.gate.opened()  # a paused job sends nothing, not even headers
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
            end = piece.start + piece.length - (tail_size if piece is last else 0)
            sent = piece.start
            if sent < end:
                await flush(request, waited)
                sent = await sendfile(job, request.transport, source, sent, end, waited)
            while sent < end:
                size = min(READ_SLICE_BYTES, end - sent)
                if not job.gate.open:
                    size = await job.gate.acquire(size)
                chunk = await _read(source, sent, size)
                await job.gate.opened()
                with waited:
                    await response.write(chunk)
                job.advance(len(chunk))
                sent += len(chunk)
        tail = await _read(source, last.start + last.length - tail_size, tail_size)
        await job.gate.acquire_all(tail_size)
        await flush(request, waited)
        await job.gate.opened()
        job.finish()
        await response.write(tail + closing)  # into an empty buffer: this does not wait
        job.advance(tail_size)


async def digest_stored(source: Source, algorithm: str) -> dict[str, bytes]:
    """The digest of `source` by `algorithm`; reads all of it. Raises StorageFailed."""
    digester = Digester({}, algorithm)
    for offset in range(0, source.size, DIGEST_SLICE_BYTES):
        data = await _read(source, offset, min(DIGEST_SLICE_BYTES, source.size - offset))
        await DIGESTS.run(partial(digester.update, data))
    return digester.wanted


async def _read(source: Source, offset: int, size: int) -> bytes:
    chunk = await source.read(offset, size)
    if len(chunk) < size:
        raise StorageFailed("The file became shorter while it was sent.")
    return chunk
