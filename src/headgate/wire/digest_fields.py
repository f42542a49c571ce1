"""Digests of content, as RFC 9530 writes them in headers: ``sha-256=:base64:, sha-512=:base64:``.

Rules of this room:

- A digest that we do not know is ignored, and so is a wish for one (RFC 9530, sections 2 and 4). MD5, SHA-1 and the
  checksums are not known: the RFC calls them insecure, and nobody is to take them for a promise.
- What does not parse is an error: a client that sends a digest means it to be held against the bytes.
"""

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping

from headgate.errors import MalformedRequest

__all__ = ["ALGORITHMS", "format_digests", "parse_digests", "parse_wish"]

#: The active algorithms of the registry "Hash Algorithms for HTTP Digest Fields", and hashlib's names of them.
ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}

# RFC 9651, 3.2 (dictionaries), 3.1.2 (parameters, which mean nothing here), 3.3.5 (byte sequences), 3.3.1 (integers).
_KEY = r"[a-z*][a-z0-9_\-.*]*"
_PARAMETERS = rf"(?:; *{_KEY}(?:=[^,;]*)?)*"
_DIGEST = re.compile(rf"({_KEY})=:([A-Za-z0-9+/=]*):{_PARAMETERS}")
_WISH = re.compile(rf"({_KEY})=(\d{{1,3}}){_PARAMETERS}")


def parse_digests(header: str, value: str) -> dict[str, bytes]:
    """The digests in `value` of the field `header`, by algorithm; only those that we know.

    Raises MalformedRequest if it is no dictionary of byte sequences, or has a digest that is not as long as its kind.
    """
    digests = {}
    for match in _members(_DIGEST, header, value):
        try:
            digests[match[1]] = b64decode(match[2], validate=True)
        except binascii.Error:
            raise MalformedRequest(f"{header} holds something that is not base64.") from None
    known = {algorithm: digests[algorithm] for algorithm in digests if algorithm in ALGORITHMS}
    for algorithm, digest in known.items():
        if len(digest) != hashlib.new(ALGORITHMS[algorithm]).digest_size:
            raise MalformedRequest(f"{header} holds a {algorithm} of the wrong length.")
    return known


def parse_wish(value: str) -> str | None:
    """The algorithm that a ``Want-Repr-Digest`` prefers among those we know; None if it wants none.

    Preferences are 0 (not acceptable) to 10 (RFC 9530, section 4). Raises MalformedRequest.
    """
    if not value:
        return None
    wishes = {match[1]: int(match[2]) for match in _members(_WISH, "Want-Repr-Digest", value)}
    if any(preference > 10 for preference in wishes.values()):
        raise MalformedRequest("Want-Repr-Digest holds a preference above 10.")
    known = {algorithm: wishes[algorithm] for algorithm in ALGORITHMS if wishes.get(algorithm)}
    return max(known, key=lambda algorithm: known[algorithm], default=None)


def format_digests(digests: Mapping[str, bytes]) -> str:
    """`digests` by algorithm, as a field value."""
    return ", ".join(f"{algorithm}=:{b64encode(digest).decode()}:" for algorithm, digest in digests.items())


def _members(pattern: re.Pattern[str], header: str, value: str) -> Iterator[re.Match[str]]:
    if not value.strip(" \t"):
        return  # an empty dictionary
    for member in value.split(","):
        match = pattern.fullmatch(member.strip(" \t"))
        if match is None:
            raise MalformedRequest(f"{header} is malformed.")
        yield match
