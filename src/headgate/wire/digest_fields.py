"""Digests of content, as RFC 9530 writes them in headers: ``sha-256=:base64:, sha-512=:base64:``.

Rules of this file:

- A digest by an unknown algorithm is ignored, and so is a wish for one (RFC 9530, sections 2 and 4). MD5, SHA-1 and
  checksums count as unknown: the RFC calls them insecure, and a match of theirs would prove nothing.
- A field that does not parse is an error: a client that sends a digest wants it to be compared with the bytes.
"""

import hashlib
from base64 import b64encode
from collections.abc import Mapping

from headgate.errors import MalformedRequest
from headgate.wire.structured_fields import BareItem, parse_dictionary

__all__ = ["ALGORITHMS", "format_digests", "parse_digests", "parse_wish"]

#: The active algorithms of the registry "Hash Algorithms for HTTP Digest Fields", and hashlib's names of them.
ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}

#: The highest preference (RFC 9530, section 4).
MAX_PREFERENCE = 10


def parse_digests(header: str, value: str) -> dict[str, bytes]:
    """The digests in `value` of the field `header`, by algorithm; only those by known algorithms.

    Raises MalformedRequest if it is no dictionary of byte sequences, or has a digest that is not as long as its kind.
    """
    digests = {}
    for algorithm, digest in _members(header, value).items():
        if not isinstance(digest, bytes):
            raise MalformedRequest(f"{header} must be a dictionary of byte sequences.")
        if algorithm in ALGORITHMS:
            if len(digest) != hashlib.new(ALGORITHMS[algorithm]).digest_size:
                raise MalformedRequest(f"{header} has a {algorithm} of the wrong length.")
            digests[algorithm] = digest
    return digests


def parse_wish(value: str) -> str | None:
    """The algorithm that a ``Want-Repr-Digest`` prefers among the known ones; None if it wants none.

    Preferences are 0 (not acceptable) to 10 (RFC 9530, section 4). Raises MalformedRequest.
    """
    wishes: dict[str, int] = {}
    for algorithm, preference in _members("Want-Repr-Digest", value).items():
        if not isinstance(preference, int) or isinstance(preference, bool) or not 0 <= preference <= MAX_PREFERENCE:
            raise MalformedRequest("Want-Repr-Digest must have preferences from 0 to 10.")
        wishes[algorithm] = preference
    known = {algorithm: wishes[algorithm] for algorithm in ALGORITHMS if wishes.get(algorithm)}
    return max(known, key=lambda algorithm: known[algorithm], default=None)


def format_digests(digests: Mapping[str, bytes]) -> str:
    """`digests`, by algorithm, as the value of Repr-Digest or Content-Digest."""
    return ", ".join(f"{algorithm}=:{b64encode(digest).decode()}:" for algorithm, digest in digests.items())


def _members(header: str, value: str) -> dict[str, BareItem]:
    """The members of `value`, a dictionary in the field `header`. Raises MalformedRequest."""
    members = parse_dictionary(value.strip(" \t"))
    if members is None:
        raise MalformedRequest(f"{header} is malformed.")
    return members
