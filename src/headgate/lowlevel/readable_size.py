"""How a number of bytes is told to people: everywhere in the same units, those of 1024."""

__all__ = ["readable"]


def readable(size: float) -> str:
    """`size` bytes: ``"1.4 MiB"``, ``"512 bytes"``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1023.5:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
