"""Several stored files as one zip, made as it is sent: nothing is kept, neither on disk nor in memory.

Rules of this room:

- zipstream-ng does the format (zip64 included), in a thread, a chunk at a time; nothing is made that nobody asked for.
- A file that became shorter breaks the zip off: it must not look whole (G5).
"""

import asyncio
import zipfile
from collections.abc import AsyncGenerator, Iterator, Sequence

from zipstream import ZipStream

from headgate.aio import uninterrupted
from headgate.errors import StorageFailed
from headgate.storage import Source

__all__ = ["Zipped"]

#: Bytes of a file that are read at once.
READ = 256 * 1024


class Zipped:
    """`sources` as a zip: stored, or deflated. Made in the loop that is to send it."""

    def __init__(self, sources: Sequence[Source], *, deflate: bool) -> None:
        loop = asyncio.get_running_loop()
        self._zip = ZipStream(compress_type=zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED, sized=not deflate)
        for source in sources:
            self._zip.add(_content(source, loop), source.entry.name, size=source.size)
        #: Bytes of the whole, where they can be known: deflated ones are when they have been made.
        self.size = None if deflate else len(self._zip)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The zip. Raises StorageFailed."""
        iterator = iter(self._zip)
        # Uninterrupted: a generator cannot be closed while a thread is in it.
        while (chunk := await uninterrupted(asyncio.to_thread(next, iterator, None))) is not None:
            yield chunk


def _content(source: Source, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """The bytes of `source`, for a thread that is not the loop's."""
    for offset in range(0, source.size, READ):
        size = min(READ, source.size - offset)
        chunk = asyncio.run_coroutine_threadsafe(source.read(offset, size), loop).result()
        if len(chunk) < size:
            raise StorageFailed("The file became shorter while it was sent.")
        yield chunk
