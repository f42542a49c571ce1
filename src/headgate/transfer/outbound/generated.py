"""Giving generated exports out: chunk by chunk, and small chunks together.

Rules of this room, beside those of ``send``:

- A chunk is not kept back for the sake of speed: what a generator yields before it waits for something goes out while
  it waits. Only chunks that come without waiting are gathered.
- A generator may be slow, never wait, or swallow its cancellation; the loop and the job go on.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, web

from headgate.errors import ExportFailed, HeadgateError
from headgate.jobs import Job, State
from headgate.lowlevel.aiohttp_internals import write_now
from headgate.lowlevel.cancellation import is_cancelled
from headgate.lowlevel.page_memory import Data
from headgate.transfer.outbound.abort import aborting_on_error
from headgate.transfer.outbound.flush import flush
from headgate.transfer.throttled_write import write_throttled
from headgate.transfer.watchdog import ClientWait

__all__ = ["send_generated"]

#: Seconds for which a generator that never waits may have the loop to itself, beside its own work on a chunk.
BREATH = 0.002

#: Bytes that are gathered at most. A chunk costs as much to send as 10 KiB do; larger ones cost twice as much, because
#: malloc gets each from the kernel.
GATHER = 128 * 1024

#: Seconds until it is tried again to send what waits for a client that is slow, or for a resume.
AGAIN = 0.05


async def send_generated(
    job: Job, request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes], waited: ClientWait
) -> None:
    """Send what `chunks` yields as the body of `response`, chunked.

    The job passes its point of no return before the last chunk of the encoding, which aiohttp sends (G2).

    The headers wait for the first chunk, so that a generator which fails before it yields is answered with an error.
    The generator is closed however this ends. Raises as `send_stored` does, and ExportFailed if the generator raised.
    """
    gathering = _Gathering(job, request)
    async with _closing(chunks):
        with aborting_on_error(request, response), contextlib.closing(gathering):
            more = await gathering.gather(chunks, most=0, send=False)
            if request.version >= HttpVersion11:
                response.enable_chunked_encoding()
            else:
                response.force_close()  # the end of the connection is the end of the body
            await job.gate.opened()  # nothing leaves a paused job, be it a header
            job.check()
            await response.prepare(request)

            async def write(data: Data) -> None:
                with waited:
                    await response.write(data)

            while True:
                if data := gathering.take():
                    if job.gate.open:
                        await write(data)
                        job.advance(len(data))
                    else:
                        await write_throttled(job, data, write)
                elif not more:
                    break
                if more:
                    more = await gathering.gather(chunks)
            await flush(request, waited)
            await job.gate.opened()
            job.finish()


@contextlib.asynccontextmanager
async def _closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[None]:
    """Close `chunks` in the end, if it is what can be closed: a generator, or something like one."""
    try:
        yield
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


class _Gathering:
    """Chunks on their way from a generator to the client of `request`."""

    __slots__ = ("_breathed", "_chunks", "_handle", "_job", "_loop", "_request", "_size")

    def __init__(self, job: Job, request: web.Request) -> None:
        self._job = job
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._breathed = time.monotonic()

    def close(self) -> None:
        """Send nothing more by itself."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def take(self) -> bytes:
        """What was gathered. It is the caller's to send."""
        self.close()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return data

    async def gather(self, chunks: AsyncIterator[bytes], most: int = GATHER, *, send: bool = True) -> bool:
        """Gather until there are `most` bytes, or as many as the job's gate or the loop's patience allow. False at the
        end. What there is meanwhile goes out when the loop has a turn, which is when the generator waits, if it may
        (`send`).

        What the generator raises becomes ExportFailed, unless it is one of ours. A paused job asks for nothing. Raises
        the job's cause if the generator swallowed its cancellation.
        """
        job, gathered = self._job, self._chunks
        if not job.gate.open:
            await job.gate.opened()
        if time.monotonic() - self._breathed > BREATH:
            await asyncio.sleep(0)
            self._breathed = time.monotonic()
        try:
            async for chunk in chunks:
                if not isinstance(chunk, bytes):
                    raise TypeError(f"an export yields bytes, not {type(chunk).__name__}")
                if job.cause is not None:
                    break
                gathered.append(chunk)
                self._size += len(chunk)
                if self._size >= most or not job.gate.open or time.monotonic() - self._breathed > BREATH:
                    return True
                if self._handle is None and send:
                    self._handle = self._loop.call_soon(self._send)
            else:
                return False
        except HeadgateError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            raise ExportFailed from error
        job.check()
        return True

    def _send(self) -> None:
        """The generator waits, and the loop has a turn."""
        job, self._handle = self._job, None
        if job.state is State.PAUSED or self._request.protocol.writing_paused:
            self._handle = self._loop.call_later(AGAIN, self._send)
        elif job.state.stoppable and (data := self.take()) and write_now(self._request, data):
            job.gate.charge(len(data))
            job.advance(len(data))
