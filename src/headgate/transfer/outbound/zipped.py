"""Several stored files as one zip, made as it is sent: nothing is kept, neither on disk nor in memory.

Rules of this room:

- The standard library does the format (zip64 included), a chunk at a time, in a thread; nothing is made that nobody
  asked for.
- A file is opened when the zip comes to it: however many there are, one is open. One that is another by then than when
  the zip began, or that became shorter, breaks the zip off: it must not look whole (G5).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from zipfile import ZIP64_LIMIT, ZIP_DEFLATED, ZIP_FILECOUNT_LIMIT, ZIP_STORED, ZipFile, ZipInfo

from headgate.errors import FileChanged, StorageFailed
from headgate.lowlevel.cancellation import uninterrupted
from headgate.lowlevel.thread_pools import ZIPS
from headgate.storage import Entry, Source

__all__ = ["Zipped"]

#: Bytes of a file that are read at once.
READ = 256 * 1024

#: A regular file that its owner may write and everybody may read, as Unix has it in the upper half.
MODE = 0o100644 << 16

#: The times that the format can tell, in local time.
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_LATEST = (2107, 12, 31, 23, 59, 58)


class _ZipOutput:
    """Takes what is written until it is taken from here. It cannot be sought in, so sizes come after the bytes."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """What zipfile asks of a file; there is nothing to flush, and nothing to close."""

    def close(self) -> None:
        """The same."""

    def take(self) -> bytes:
        written, self._written = self._written, []
        return b"".join(written)


class Zipped:
    """The files `entries` as a zip: stored, or deflated. `open_` opens one by its name."""

    def __init__(self, entries: Sequence[Entry], open_: Callable[[str], Awaitable[Source]], *, deflate: bool) -> None:
        self._entries = entries
        self._open = open_
        self._method = ZIP_DEFLATED if deflate else ZIP_STORED
        #: Bytes of the whole, where they can be known: deflated ones are when they have been made.
        self.size = None if deflate else _size_of(entries)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The zip. Raises FileNotFound, FileChanged and StorageFailed."""
        sink = _ZipOutput()
        with ExitStack() as stack:
            archive = ZipFile(sink, "w", self._method)
            stack.callback(_close, archive.close)
            for entry in self._entries:
                async with await self._open(entry.name) as source:
                    if source.entry.etag != entry.etag:
                        raise FileChanged(f"{entry.name!r} was replaced while the zip was made.")
                    with ExitStack() as opened:
                        member = archive.open(_info(entry, self._method), "w")
                        opened.callback(_close, member.close)
                        for offset in range(0, source.size, READ):
                            data = await source.read(offset, size := min(READ, source.size - offset))
                            if len(data) < size:
                                raise StorageFailed("The file became shorter while it was sent.")
                            await uninterrupted(ZIPS.run(partial(member.write, data)))
                            if made := sink.take():
                                yield made
                        await uninterrupted(ZIPS.run(member.close))
                yield sink.take()
            archive.close()
            yield sink.take()


def _close(close: Callable[[], object]) -> None:
    """It may have been broken off, and what closing writes then goes nowhere."""
    with suppress(Exception):
        close()


def _info(entry: Entry, method: int) -> ZipInfo:
    info = ZipInfo(entry.name, _time(entry.modified_at))
    info.compress_type = method
    info.file_size = entry.size
    info.create_system = 3  # Unix, whose mode it has
    info.external_attr = MODE
    return info


def _time(modified_at: datetime) -> tuple[int, int, int, int, int, int]:
    if not _EARLIEST[0] < modified_at.year < _LATEST[0]:
        return min(max((modified_at.year, 1, 1, 0, 0, 0), _EARLIEST), _LATEST)
    local = modified_at.astimezone()
    return local.year, local.month, local.day, local.hour, local.minute, local.second


def _size_of(entries: Sequence[Entry]) -> int:
    """Bytes of the zip that ``zipfile`` makes of the stored `entries`, where it cannot seek (APPNOTE.TXT, 4.3)."""
    offset = directory = 0
    for entry in entries:
        name = len(entry.name.encode())
        is_large = entry.size * 1.05 > ZIP64_LIMIT  # zipfile leaves room for what does not compress
        numbers = 2 * (entry.size > ZIP64_LIMIT) + (offset > ZIP64_LIMIT)
        directory += 46 + name + (4 + 8 * numbers if numbers else 0)
        offset += 30 + name + entry.size + (20 + 24 if is_large else 16)
    is_large = len(entries) > ZIP_FILECOUNT_LIMIT or offset > ZIP64_LIMIT or directory > ZIP64_LIMIT
    return offset + directory + 22 + (56 + 20 if is_large else 0)
