"""Digests of content, computed as it passes (RFC 9530). Nobody asked: nothing is computed."""

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

#: Bytes whose digest is computed in the loop: a fraction of a millisecond's work, as much as a thread would cost.
INLINE = 256 * 1024


class Digester:
    """The digests of one content: those to be held against it, and those that were asked for.

    `expected`: by the field that they came in, digests by algorithm (RFC 9530's names, or hashlib's), each of which
    must be right; `wanted`: an algorithm, or None. False if there is nothing to compute.
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
        """For the content that has `headers`. Without a content coding, content and representation are the same bytes.

        Raises MalformedRequest.
        """
        expected = {
            field: parse_digests(field, ", ".join(headers.getall(field))) for field in fields if field in headers
        }
        return cls(expected, wanted)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    async def take(self, data: Data) -> None:
        """As `update`, but the loop does not wait while a large block is computed on."""
        if len(data) <= INLINE:
            self.update(data)
        else:
            await DIGESTS.run(partial(self.update, data))

    def update(self, data: Data) -> None:
        for hash_ in self._hashes.values():
            hash_.update(data)

    @property
    def wrong(self) -> set[str]:
        """All of it has passed: the fields that hold a digest which it does not have."""
        return {
            field
            for field, expected in self._expected.items()
            if any(self._hashes[algorithm].digest() != digest for algorithm, digest in expected.items())
        }

    def check(self, what: str, *, excused: Container[str] = ()) -> None:
        """All of it has passed. Raises DigestMismatch if `what` it is does not have the digest of a field that is not
        `excused`."""
        for field in self.wrong:
            if field not in excused:
                raise DigestMismatch(f"{what} does not have the {field} that was sent with it.")

    @property
    def wanted(self) -> dict[str, bytes]:
        """The digest that was asked for, by its algorithm."""
        return {} if self._wanted is None else {self._wanted: self._hashes[self._wanted].digest()}
