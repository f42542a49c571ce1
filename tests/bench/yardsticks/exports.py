"""What the generated exports yield: rows of 1 KiB, and chunks of 64 KiB."""

from collections.abc import AsyncGenerator

__all__ = ["CHUNKS", "ROWS", "chunks", "rows"]

#: Bytes of each export.
ROWS = 128 * 1024 * 1024
CHUNKS = 512 * 1024 * 1024

ROW = b"%1023d\n" % 7
CHUNK = bytes(range(256)) * 256


async def rows() -> AsyncGenerator[bytes, None]:
    for _ in range(ROWS // len(ROW)):
        yield ROW


async def chunks() -> AsyncGenerator[bytes, None]:
    for _ in range(CHUNKS // len(CHUNK)):
        yield CHUNK
