"""Parsers of the values of command-line options: sizes, counts, seconds, ports."""

import argparse
import re
from fractions import Fraction

__all__ = ["format_size", "parse_count", "parse_port", "parse_seconds", "parse_size", "parse_size_or_zero"]

_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)\s*([kmgt]?)(ib|b)?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Bytes: "1500", "20GiB" and "20G" are powers of 1024, "20GB" of 1000, as GNU tools have it.

    Raises argparse.ArgumentTypeError with a sentence for the user.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size: write 500MB, 20GiB or a number of bytes")
    number, prefix, unit = match[1], match[2].lower(), (match[3] or "").lower()
    base = 1000 if unit == "b" and prefix else 1024
    size = int(Fraction(number) * base ** _POWER[prefix])
    if not 0 < size < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0, or more than any file can have")
    return size


def parse_size_or_zero(text: str) -> int:
    """As `parse_size`, or 0. Raises argparse.ArgumentTypeError."""
    return 0 if text.strip() == "0" else parse_size(text)


def format_size(size: int) -> str:
    """`size` bytes, as `parse_size` reads it: exactly, with the largest unit that divides it."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return str(size)


def parse_count(text: str) -> int:
    """A number above 0. Raises argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def parse_seconds(text: str) -> float:
    """Seconds, 0 or more. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return float(text)


def parse_port(text: str) -> int:
    """A TCP port; 0 for any free one. Raises argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)
