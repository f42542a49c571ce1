"""Numbers as people write them."""

import argparse
import re
from fractions import Fraction

__all__ = ["parse_port", "parse_size"]

_SIZE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?)\s*([kmgt]?)(ib|b)?", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str) -> int:
    """Bytes: "1500", "20GiB" and "20G" are powers of 1024, "20GB" of 1000, as GNU tools have it.

    Raises argparse.ArgumentTypeError, with a sentence for the person who typed it.
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


def parse_port(text: str) -> int:
    """A TCP port; 0 for any free one. Raises argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)
