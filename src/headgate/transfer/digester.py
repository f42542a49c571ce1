"""Digests of content, computed as it passes (RFC 9530).

A digest is computed if the client sent one to compare with, or asked for one; otherwise a `Digester` is false, and its
user skips it.
"""

import hashlib
from collections.abc import Container, Iterable, Mapping
from functools import partial
from typing import Self

from multidict import MultiMapping

from headgate.errors import DigestMismatch
from headgate.lowlevel.page_memory import Data
from headgate.lowlevel.thread_pools import DIGESTS
from headgate.wire.digest_fields import ALGORITHMS, parse_digests

__all__ = ["REPR_DIGEST", "Digester"]

CONTENT_DIGEST = "Content-Digest"
REPR_DIGEST = "Repr-Digest"

#: The largest chunk, in bytes, whose digest is computed on the event loop: it takes a fraction of a millisecond, as
#: much as handing it to a thread would.
INLINE_BYTES = 256 * 1024


class Digester:
    """The digests of one content: those that it has to have, and the one that the client asked for.

    `expected`: for each header field that brought digests, these by algorithm (in RFC 9530's names, or hashlib's).
    `wanted`: the algorithm that the client asked for, or None. A Digester is false if there is nothing to compute.
    """

    __slots__ = ("_expected", "_hashes", "_wanted")

    def __init__(self, expected: Mapping[str, Mapping[str, bytes]], wanted: str | None = None) -> None:
        self._expected = expected
        self._wanted = wanted
        algorithms = set().union(*expected.values()) | ({wanted} if wanted else set())
        self._hashes = {
            algorithm: hashlib.new(ALGORITHMS.get(algorithm, algorithm), usedforsecurity=False)
            for algorithm in algorithms
        }

    @classmethod
    def expecting(
        cls,
        headers: MultiMapping[str],
        wanted: str | None = None,
        *,
        fields: Iterable[str] = (CONTENT_DIGEST, REPR_DIGEST),
    ) -> Self:
        """A Digester for the content that `headers` describe.

        Without a content coding, content and representation are the same bytes, so both fields apply to it.

        Raises MalformedRequest.
        """
        expected = {
            field: parse_digests(field, ", ".join(headers.getall(field))) for field in fields if field in headers
        }
        return cls(expected, wanted)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    async def take(self, data: Data) -> None:
        """Add `data`, the next bytes of the content; a large chunk is computed in a thread."""
        if len(data) <= INLINE_BYTES:
            self.update(data)
        else:
            await DIGESTS.run(partial(self.update, data))

    def update(self, data: Data) -> None:
        """Add `data`, the next bytes of the content, on the calling thread."""
        for hash_ in self._hashes.values():
            hash_.update(data)

    @property
    def wrong(self) -> set[str]:
        """The fields with a digest that the content, all of which has been added, does not have."""
        return {
            field
            for field, expected in self._expected.items()
            if any(self._hashes[algorithm].digest() != digest for algorithm, digest in expected.items())
        }

    def check(self, what: str, *, excused: Container[str] = ()) -> None:
        """Raise DigestMismatch if the content, all of which has been added, does not have the digest of a field.

        `what` names the content in the message. Fields in `excused` are not compared.
        """
        for field in self.wrong:
            if field not in excused:
                raise DigestMismatch(f"{what} does not have the {field} that was sent with it.")

    @property
    def wanted(self) -> dict[str, bytes]:
        """The digest that the client asked for, by its algorithm; empty if it did not ask."""
        return {} if self._wanted is None else {self._wanted: self._hashes[self._wanted].digest()}
