"""File names: one path segment, under the same rules in every protocol and on every storage.

A name that breaks them is refused (422) and never changed: a client that sends ``../x`` must not find ``x``.
"""

import re

from headgate.errors import InvalidName

__all__ = ["MAX_NAME_BYTES", "check_name", "numbered"]

#: The longest name, in bytes of UTF-8: NAME_MAX of the common Linux file systems.
MAX_NAME_BYTES = 255


#: Unicode's category Cc: C0, DEL and C1.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_name(name: str) -> str:
    """Return `name` if a file may have it.

    Raises InvalidName for an empty name, ``.`` and ``..``, a leading dot (hidden files; ``.staging`` among them),
    ``/``, ``\\``, control characters (NUL included), text that is not valid Unicode, and more than 255 UTF-8 bytes.
    """
    if not name:
        raise InvalidName("A file name may not be empty.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidName("A file name must be valid UTF-8.") from None
    if size > MAX_NAME_BYTES:
        raise InvalidName(f"A file name may have {MAX_NAME_BYTES} bytes in UTF-8; this one has {size}.")
    if name.startswith("."):
        raise InvalidName("A file name may not begin with a dot.")
    if "/" in name or "\\" in name:
        raise InvalidName("A file name is one path segment: it may hold neither '/' nor '\\'.")
    if _CONTROL.search(name):
        raise InvalidName("A file name may not hold control characters.")
    return name


#: The suffix of a name, which tells its type; a compressed archive has two (``.tar.gz``). It contains no space.
_SUFFIX = re.compile(r"(?<=[^.])(?:\.tar)?\.[^.\s]+\Z", re.IGNORECASE)


def numbered(name: str, number: int) -> str:
    """`name` with `number` before its suffix: ``"report (1).tar.gz"``; the stem is cut if that would be too long."""
    match = _SUFFIX.search(name)
    suffix = "" if match is None else match[0]
    mark = f" ({number})"
    room = MAX_NAME_BYTES - len((mark + suffix).encode())
    if room <= 0:  # nearly all of the name is its suffix: there is no stem to cut
        suffix, room = "", MAX_NAME_BYTES - len(mark)
    stem = name.removesuffix(suffix) if suffix else name
    return stem.encode()[:room].decode(errors="ignore") + mark + suffix
