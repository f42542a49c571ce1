"""Digests of content, computed as it passes (RFC 9530). Nobody asked: nothing is computed."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Self

from multidict import MultiMapping

from headgate.errors import DigestMismatch
from headgate.wire.digests import ALGORITHMS, parse_digests

__all__ = ["Digester"]

_FIELDS = ("Content-Digest", "Repr-Digest")


class Digester:
    """The digests of one content: those to be held against it, and those that were asked for.

    `expected`: digests by algorithm, each of which must be right; `wanted`: an algorithm, or None. False if there is
    nothing to compute.
    """

    __slots__ = ("_expected", "_hashes", "_wanted")

    def __init__(self, expected: Iterable[Mapping[str, bytes]], wanted: str | None = None) -> None:
        self._expected = [*expected]
        self._wanted = wanted
        algorithms = set().union(*self._expected) | ({wanted} if wanted else set())
        self._hashes = {algorithm: hashlib.new(ALGORITHMS[algorithm]) for algorithm in algorithms}

    @classmethod
    def expecting(cls, headers: MultiMapping[str], wanted: str | None = None) -> Self:
        """For the content that has `headers`. Without a content coding, content and representation are the same bytes.

        Raises MalformedRequest.
        """
        return cls([parse_digests(name, ", ".join(headers.getall(name, ()))) for name in _FIELDS], wanted)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def update(self, data: bytes) -> None:
        for hash_ in self._hashes.values():
            hash_.update(data)

    def check(self, what: str) -> None:
        """All of it has passed. Raises DigestMismatch if `what` it is does not have an expected digest."""
        for expected in self._expected:
            for algorithm, digest in expected.items():
                if self._hashes[algorithm].digest() != digest:
                    raise DigestMismatch(f"{what} does not have the {algorithm} digest that was sent with it.")

    @property
    def wanted(self) -> dict[str, bytes]:
        """The digest that was asked for, by its algorithm."""
        return {} if self._wanted is None else {self._wanted: self._hashes[self._wanted].digest()}
