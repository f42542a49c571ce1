"""Sizes as people write them."""

import argparse
import re

__all__ = ["parse_size"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(ib|b)?", re.IGNORECASE)
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
    size = int(float(number) * base ** _POWER[prefix])
    if size <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return size
