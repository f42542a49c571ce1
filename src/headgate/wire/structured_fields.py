"""The few Structured Fields (RFC 9651) that we read: an Integer, a Boolean, one of each in a field.

Rules of this room: what does not parse is as if it were not there; the fields that use these say so. Whatever comes is
looked at once, from left to right (section 4.2).
"""

import re

__all__ = ["parse_boolean", "parse_integer", "split_parameters"]

_INTEGER = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_BOOLEAN = re.compile(r"\?[01]", re.ASCII)

# One parameter (3.1.2) with the semicolon and the spaces before it; its value, if it has one, is a bare item (3.3).
_STRING = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_PARAMETER = re.compile(
    rf'; *[a-z*][a-z0-9_\-.*]*(?:=(?:{_STRING}|:[A-Za-z0-9+/=]*:|\?[01]|[^"\s;,=:?]+))?',
    re.ASCII,
)


def split_parameters(text: str) -> str | None:
    """The bare item in `text`, without the spaces around it and its parameters, which mean nothing here; None if these
    are malformed."""
    text = text.strip(" ")
    item = text.partition(";")[0]
    position = len(item)
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            return None
        position = match.end()
    return item


def _item(pattern: re.Pattern[str], text: str | None) -> str | None:
    item = None if text is None else split_parameters(text)
    return item if item is not None and pattern.fullmatch(item) else None


def parse_integer(text: str | None) -> int | None:
    """The Integer `text`; None if it is none, or negative: nothing that we count is."""
    item = _item(_INTEGER, text)
    return None if item is None or int(item) < 0 else int(item)


def parse_boolean(text: str | None) -> bool | None:
    """The Boolean `text`; None if it is none."""
    item = _item(_BOOLEAN, text)
    return None if item is None else item == "?1"
