"""Sending generated exports: small chunks that a generator yields without waiting are gathered and sent together.

Rules of this file, beside those of `stored.py`:

- No chunk is delayed to gather more: when the generator waits for something, what it has yielded is sent.
- A generator may be slow, may never wait, or may swallow its cancellation: the event loop and the job go on.
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

#: Seconds after which a generator that never waits gives the event loop a turn, beside its own work on a chunk.
MAX_TURN_SECONDS = 0.002

#: Bytes that are gathered at most. Sending a chunk costs as much as 10 KiB of it do; chunks above this size cost twice
#: as much, because malloc gets their memory from the kernel.
MAX_GATHERED_BYTES = 128 * 1024

#: Seconds until the next attempt to send gathered chunks to a slow client, or of a paused job.
RETRY_SECONDS = 0.05


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
            await job.gate.opened()  # a paused job sends nothing, not even headers
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
    """A context that closes `chunks` at its end, if it has an ``aclose`` as generators do."""
    try:
        yield
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


class _Gathering:
    """Chunks that a generator yielded and that have not been sent to the client of `request`."""

    __slots__ = ("_chunks", "_handle", "_job", "_loop", "_request", "_size", "_turn_began")

    def __init__(self, job: Job, request: web.Request) -> None:
        self._job = job
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.Handle | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._turn_began = time.monotonic()

    def close(self) -> None:
        """Cancel the sending that was scheduled for when the generator waits."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def take(self) -> bytes:
        """The gathered bytes, which the caller sends."""
        self.close()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return data

    async def gather(self, chunks: AsyncIterator[bytes], most: int = MAX_GATHERED_BYTES, *, send: bool = True) -> bool:
        """Gather chunks until there are `most` bytes, the gate closes, or the loop needs a turn. False at the end.

        With `send`, what has been gathered is sent while the generator waits. A paused job asks the generator for
        nothing. An exception of the generator becomes ExportFailed, unless it is a HeadgateError. Raises the job's
        cause if the generator swallowed its cancellation.
        """
        job, gathered = self._job, self._chunks
        if not job.gate.open:
            await job.gate.opened()
        if time.monotonic() - self._turn_began > MAX_TURN_SECONDS:
            await asyncio.sleep(0)
            self._turn_began = time.monotonic()
        try:
            async for chunk in chunks:
                if not isinstance(chunk, bytes):
                    raise TypeError(f"an export yields bytes, not {type(chunk).__name__}")
                if job.cause is not None:
                    break
                gathered.append(chunk)
                self._size += len(chunk)
                if self._size >= most or not job.gate.open or time.monotonic() - self._turn_began > MAX_TURN_SECONDS:
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
        """Send what was gathered: the generator waits, since the loop has a turn."""
        job, self._handle = self._job, None
        if job.state is State.PAUSED or self._request.protocol.writing_paused:
            self._handle = self._loop.call_later(RETRY_SECONDS, self._send)
        elif job.state.stoppable and (data := self.take()) and write_now(self._request, data):
            job.gate.charge(len(data))
            job.advance(len(data))
