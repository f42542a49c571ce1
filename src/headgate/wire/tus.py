"""The headers of tus 1.0.0 (tus.io/protocols/resumable-upload). Values in, values out; no I/O.

Rule of this file: a malformed header that the protocol defines is an error (400).
"""

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass

from headgate.errors import MalformedRequest

__all__ = [
    "ALGORITHMS",
    "CONTENT_TYPE",
    "EXTENSIONS",
    "VERSION",
    "Checksum",
    "Concat",
    "parse_checksum",
    "parse_concat",
    "parse_defer",
    "parse_metadata",
    "parse_number",
]

VERSION = "1.0.0"

CONTENT_TYPE = "application/offset+octet-stream"

#: The extensions that headgate implements. Not checksum-trailer: aiohttp does not expose a request's trailers.
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "checksum",
    "termination",
    "concatenation",
    "concatenation-unfinished",
)

#: Checksums, by the protocol's names of them; hashlib has the same.
ALGORITHMS = ("sha1", "sha256", "sha512", "md5")

_NUMBER = re.compile(r"\d{1,18}")


def parse_number(header: str, text: str) -> int:
    """The number of bytes that `text`, the value of `header`, says. Raises MalformedRequest."""
    if not (text.isascii() and _NUMBER.fullmatch(text)):
        raise MalformedRequest(f"{header} must be a whole number, 0 or more.")
    return int(text)


def parse_defer(text: str | None) -> bool:
    """``Upload-Defer-Length``: is the length still to come? Raises MalformedRequest for anything but 1."""
    if text is not None and text != "1":
        raise MalformedRequest("Upload-Defer-Length can only be 1.")
    return text is not None


def parse_metadata(text: str) -> dict[str, bytes]:
    """``Upload-Metadata``: values by unique keys; a key alone has an empty one. Raises MalformedRequest."""
    pairs: dict[str, bytes] = {}
    if not text.strip():
        return pairs
    for pair in text.split(","):
        key, _, value = pair.strip().partition(" ")
        if not key or not (key + value).isascii() or not (key + value).isprintable():
            raise MalformedRequest("Upload-Metadata must be keys and base64 values.")
        if key in pairs:
            raise MalformedRequest(f"Upload-Metadata has the key {key!r} twice.")
        pairs[key] = _base64(value.strip(), f"The value of {key!r} in Upload-Metadata")
    return pairs


@dataclass(frozen=True, slots=True)
class Checksum:
    """The digest that the content of a request must have, by `algorithm` (one of `ALGORITHMS`)."""

    algorithm: str
    digest: bytes


def parse_checksum(text: str) -> Checksum:
    """``Upload-Checksum``: an algorithm and a base64 digest. Raises MalformedRequest, also for an unknown algorithm."""
    algorithm, _, value = text.partition(" ")
    if algorithm not in ALGORITHMS:
        raise MalformedRequest(f"Upload-Checksum must be one of {', '.join(ALGORITHMS)}.")
    digest = _base64(value, "Upload-Checksum")
    if not digest:
        raise MalformedRequest("Upload-Checksum has no digest.")
    # A digest of another length than its algorithm has is well-formed, and never matches.
    return Checksum(algorithm, digest)


@dataclass(frozen=True, slots=True)
class Concat:
    """A part of an upload (`urls` is None), or one that is made of the parts at `urls`, in this order."""

    urls: tuple[str, ...] | None


def parse_concat(text: str) -> Concat:
    """``Upload-Concat``: ``partial``, or ``final;`` and URLs. Raises MalformedRequest."""
    if text == "partial":
        return Concat(None)
    kind, _, rest = text.partition(";")
    urls = tuple(rest.split())
    if kind != "final" or not urls:
        raise MalformedRequest("Upload-Concat must be 'partial', or 'final;' and the URLs of partial uploads.")
    return Concat(urls)


def _base64(text: str, what: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedRequest(f"{what} is not base64.") from None
