"""The few Structured Fields (RFC 9651) that we read: an Integer, a Boolean, one of each in a field.

Rules of this room: what does not parse is as if it were not there; the fields that use these say so.
"""

import re

__all__ = ["parse_boolean", "parse_integer"]

# RFC 9651, 3.3.1 and 3.3.6, and 3.1.2: parameters, which mean nothing here.
_PARAMETERS = r"(?:; *[a-z*][a-z0-9_\-.*]*(?:=[^,;]+)?)*"
_INTEGER = re.compile(rf" *(-?\d{{1,15}}){_PARAMETERS} *")
_BOOLEAN = re.compile(rf" *\?([01]){_PARAMETERS} *")


def parse_integer(text: str | None) -> int | None:
    """The Integer `text`; None if it is none, or negative: nothing that we count is."""
    match = None if text is None else _INTEGER.fullmatch(text)
    number = None if match is None else int(match[1])
    return None if number is None or number < 0 else number


def parse_boolean(text: str | None) -> bool | None:
    """The Boolean `text`; None if it is none."""
    match = None if text is None else _BOOLEAN.fullmatch(text)
    return None if match is None else match[1] == "1"
