"""Several stored files as one zip, which is made while it is sent: neither the disk nor the memory holds it.

Rules of this file:

- The standard library writes the format (zip64 included), a chunk at a time, in a thread, and only as fast as the
  client takes it.
- One file is open at a time. A file that was replaced or cut since the zip began aborts the zip: it must not look whole
  (G5).
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
READ_BYTES = 256 * 1024

#: The Unix mode of the members, in the upper half of external_attr: a regular file, rw-r--r--.
FILE_MODE = 0o100644 << 16

#: The first and the last time that the format can express, in local time.
_EARLIEST_TIME = (1980, 1, 1, 0, 0, 0)
_LATEST_TIME = (2107, 12, 31, 23, 59, 58)


class _ZipOutput:
    """The file that ZipFile writes to: keeps the bytes until `take`. It cannot seek, so sizes follow the data."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing: ZipFile calls it."""

    def close(self) -> None:
        """Nothing: ZipFile calls it."""

    def take(self) -> bytes:
        written, self._written = self._written, []
        return b"".join(written)


class Zipped:
    """The files `entries` as a zip, stored or deflated. `open_` opens a file by its name."""

    def __init__(self, entries: Sequence[Entry], open_: Callable[[str], Awaitable[Source]], *, deflate: bool) -> None:
        self._entries = entries
        self._open = open_
        self._method = ZIP_DEFLATED if deflate else ZIP_STORED
        #: Bytes of the zip; None for a deflated one, whose size is known only at its end.
        self.size = None if deflate else _size_of(entries)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the zip. Raises FileNotFound, FileChanged and StorageFailed."""
        output = _ZipOutput()
        with ExitStack() as stack:
            archive = ZipFile(output, "w", self._method)
            stack.callback(_close, archive.close)
            for entry in self._entries:
                async with await self._open(entry.name) as source:
                    if source.entry.etag != entry.etag:
                        raise FileChanged(f"{entry.name!r} was replaced while the zip was made.")
                    with ExitStack() as opened:
                        member = archive.open(_info(entry, self._method), "w")
                        opened.callback(_close, member.close)
                        for offset in range(0, source.size, READ_BYTES):
                            data = await source.read(offset, size := min(READ_BYTES, source.size - offset))
                            if len(data) < size:
                                raise StorageFailed("The file became shorter while it was sent.")
                            await uninterrupted(ZIPS.run(partial(member.write, data)))
                            if made := output.take():
                                yield made
                        await uninterrupted(ZIPS.run(member.close))
                yield output.take()
            archive.close()
            yield output.take()


def _close(close: Callable[[], object]) -> None:
    """Close a member or the zip, also after an error, when what closing writes is dropped."""
    with suppress(Exception):
        close()


def _info(entry: Entry, method: int) -> ZipInfo:
    info = ZipInfo(entry.name, _time(entry.modified_at))
    info.compress_type = method
    info.file_size = entry.size
    info.create_system = 3  # Unix, whose mode it has
    info.external_attr = FILE_MODE
    return info


def _time(modified_at: datetime) -> tuple[int, int, int, int, int, int]:
    if not _EARLIEST_TIME[0] < modified_at.year < _LATEST_TIME[0]:
        return min(max((modified_at.year, 1, 1, 0, 0, 0), _EARLIEST_TIME), _LATEST_TIME)
    local = modified_at.astimezone()
    return local.year, local.month, local.day, local.hour, local.minute, local.second


def _size_of(entries: Sequence[Entry]) -> int:
    """Bytes of the zip that ``zipfile`` makes of the stored `entries` without seeking (APPNOTE.TXT, 4.3)."""
    offset = directory = 0
    for entry in entries:
        name = len(entry.name.encode())
        is_large = entry.size * 1.05 > ZIP64_LIMIT  # zipfile leaves room for what does not compress
        numbers = 2 * (entry.size > ZIP64_LIMIT) + (offset > ZIP64_LIMIT)
        directory += 46 + name + (4 + 8 * numbers if numbers else 0)
        offset += 30 + name + entry.size + (20 + 24 if is_large else 16)
    is_large = len(entries) > ZIP_FILECOUNT_LIMIT or offset > ZIP64_LIMIT or directory > ZIP64_LIMIT
    return offset + directory + 22 + (56 + 20 if is_large else 0)
