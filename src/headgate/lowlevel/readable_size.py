"""Numbers of bytes as text for people, in units of 1,024."""

__all__ = ["readable"]


def readable(size: float, *, byte_unit: str = "bytes") -> str:
    """`size`, in bytes, as text: ``"1.4 MiB"``, ``"512 bytes"``."""
    for unit in (byte_unit, "KiB", "MiB", "GiB"):
        if size < 1023.5:
            return f"{size:.0f} {unit}" if unit == byte_unit or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
