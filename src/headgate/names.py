"""What a file may be called: one path segment, the same on every path, never silently changed.

A name is refused (422) rather than repaired: whoever asks for ``../x`` should learn that, not find ``x``.
"""

import re

from headgate.errors import InvalidName

__all__ = ["MAX_NAME_BYTES", "check_name", "numbered"]

#: NAME_MAX of every Linux file system that matters, and of S3's segments in practice.
MAX_NAME_BYTES = 255


#: Unicode's category Cc: C0, DEL and C1.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_name(name: str) -> str:
    """Return `name` if a file may be called so.

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


#: What tells the kind of a file, at the end of its name: it has no space, and an archive that was compressed has two.
_SUFFIX = re.compile(r"(?<=[^.])(?:\.tar)?\.[^.\s]+\Z", re.IGNORECASE)


def numbered(name: str, number: int) -> str:
    """``numbered("report.tar.gz", 1)`` is ``"report (1).tar.gz"``; the stem is cut where that would be too long."""
    match = _SUFFIX.search(name)
    suffix = "" if match is None else match[0]
    mark = f" ({number})"
    room = MAX_NAME_BYTES - len((mark + suffix).encode())
    if room <= 0:  # nearly all of the name is its suffix: there is no stem to cut
        suffix, room = "", MAX_NAME_BYTES - len(mark)
    stem = name.removesuffix(suffix) if suffix else name
    return stem.encode()[:room].decode(errors="ignore") + mark + suffix
