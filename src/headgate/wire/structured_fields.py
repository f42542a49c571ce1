"""Structured Fields (RFC 9651): the one parser of all fields that are defined so. Values in, values out; no I/O.

An item is a number, a string, a token, a byte sequence or a boolean. A dictionary maps keys to items. Parameters are
parsed and dropped: no field that is read here defines any. Inner lists, dates and display strings do not parse.

Rules of this file:

- A value parses as a whole or not at all (section 4.2). What a malformed field means is for its user to say: some are
  ignored, some are errors.
- Each character is looked at once, from left to right.
"""

import binascii
import re
from base64 import b64decode

__all__ = ["BareItem", "Token", "parse_boolean", "parse_dictionary", "parse_integer", "parse_item"]


class Token(str):
    """A token (3.3.4), which is another value than the string of the same characters."""

    __slots__ = ()


#: The value of an item: an Integer, a Decimal, a String or Token, a Byte Sequence, a Boolean.
BareItem = int | float | str | bytes | bool

_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*", re.ASCII)
_BARE_ITEM = re.compile(
    r"""(?P<decimal>-?[0-9]{1,12}\.[0-9]{1,3})
      | (?P<integer>-?[0-9]{1,15})
      | "(?P<string>(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"
      | :(?P<bytes>[A-Za-z0-9+/=]*):
      | \?(?P<boolean>[01])
      | (?P<token>[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*)""",
    re.ASCII | re.VERBOSE,
)
_SPACES = re.compile(r" *")
_SPACES_AND_TABS = re.compile(r"[ \t]*")
_ESCAPED = re.compile(r"\\(.)")


class _Malformed(Exception):
    """The text is not a structured field."""


def parse_item(text: str) -> BareItem | None:
    """The value of the item `text` (4.2.3); None if it is malformed."""
    text = text.strip(" ")
    try:
        item, position = _parse_value(text, 0)
    except _Malformed:
        return None
    return item if position == len(text) else None


def parse_dictionary(text: str) -> dict[str, BareItem] | None:
    """The members of the dictionary `text` (4.2.2); None if it is malformed.

    Of a key that comes twice the last value counts. An empty text is an empty dictionary.
    """
    text = text.strip(" ")
    members: dict[str, BareItem] = {}
    position = 0
    try:
        while position < len(text):
            key, position = _parse_key(text, position)
            if text.startswith("=", position):
                members[key], position = _parse_value(text, position + 1)
            else:
                members[key], position = True, _skip_parameters(text, position)
            position = _end_of(_SPACES_AND_TABS, text, position)
            if position == len(text):
                return members
            if text[position] != ",":
                return None
            position = _end_of(_SPACES_AND_TABS, text, position + 1)
            if position == len(text):  # a comma at the end
                return None
    except _Malformed:
        return None
    return members


def parse_integer(text: str | None) -> int | None:
    """The Integer `text`; None if it is not one, or negative: no field that is read here counts below 0."""
    item = None if text is None else parse_item(text)
    return item if isinstance(item, int) and not isinstance(item, bool) and item >= 0 else None


def parse_boolean(text: str | None) -> bool | None:
    """The Boolean `text`; None if it is not one."""
    item = None if text is None else parse_item(text)
    return item if isinstance(item, bool) else None


def _parse_value(text: str, position: int) -> tuple[BareItem, int]:
    """The bare item at `position`, and the position behind it and its parameters. Raises _Malformed."""
    item, position = _parse_bare_item(text, position)
    return item, _skip_parameters(text, position)


def _parse_bare_item(text: str, position: int) -> tuple[BareItem, int]:
    found = _BARE_ITEM.match(text, position)
    if found is None or found.lastgroup is None:
        raise _Malformed
    kind, value = found.lastgroup, found[found.lastgroup]
    item: BareItem
    match kind:
        case "integer":
            item = int(value)
        case "decimal":
            item = float(value)
        case "string":
            item = _ESCAPED.sub(r"\1", value)
        case "bytes":
            try:
                item = b64decode(value, validate=True)
            except binascii.Error:
                raise _Malformed from None
        case "boolean":
            item = value == "1"
        case _:
            item = Token(value)
    return item, found.end()


def _parse_key(text: str, position: int) -> tuple[str, int]:
    match = _KEY.match(text, position)
    if match is None:
        raise _Malformed
    return match[0], match.end()


def _skip_parameters(text: str, position: int) -> int:
    """The position behind the parameters at `position` (4.2.3.2). Raises _Malformed."""
    while text.startswith(";", position):
        _, position = _parse_key(text, _end_of(_SPACES, text, position + 1))
        if text.startswith("=", position):
            _, position = _parse_bare_item(text, position + 1)
    return position


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    """The position behind what `pattern`, which matches anywhere, matches at `position`."""
    match = pattern.match(text, position)
    return position if match is None else match.end()
