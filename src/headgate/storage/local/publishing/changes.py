"""Publications and deletions that are under way in threads, and of which the ledger has not been told yet.

A census of the published files waits for them: a file that appeared while it counted would else be counted by the
census, and again by the publication.
"""

import asyncio
from typing import Self

__all__ = ["Change", "ChangesUnderWay"]


class Change:
    """Is entered for a publication or a deletion, and left when the ledger has been told of it."""

    __slots__ = ("_changes", "_told")

    def __init__(self, changes: "ChangesUnderWay") -> None:
        self._changes = changes
        self._told: asyncio.Event | None = None  # made when a census waits

    def __enter__(self) -> Self:
        self._changes.under_way.add(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._changes.under_way.discard(self)
        if self._told is not None:
            self._told.set()

    async def wait_told(self) -> None:
        """Wait for the end of the block, which has begun."""
        self._told = self._told or asyncio.Event()
        await self._told.wait()


class ChangesUnderWay:
    """All changes of one disk that are under way."""

    def __init__(self) -> None:
        self.under_way: set[Change] = set()

    async def wait_told(self) -> None:
        """Wait until the ledger has been told of all that have begun."""
        for change in list(self.under_way):
            if change in self.under_way:
                await change.wait_told()
