"""How many records of uploads that are over are kept, for each owner.

The record of an upload outlives it for as long as unfinished uploads are kept, so that a client that lost the last
answer learns what has become of it. Of an owner who completes very many, the oldest are forgotten sooner.
"""

from collections import deque

from headgate.storage import PartialFile

__all__ = ["OutcomeHistory"]


class OutcomeHistory:
    """Records of uploads that ended in this process, at most `max_per_owner` of each owner. Older ones are not counted;
    they expire."""

    def __init__(self, max_per_owner: int) -> None:
        self._max_per_owner = max_per_owner
        self._by_owner: dict[str, deque[PartialFile]] = {}

    def add(self, owner: str, partial: PartialFile) -> PartialFile | None:
        """Count `partial`, of an upload of `owner` that is over; return the oldest, to be discarded, if there are too
        many."""
        partials = self._by_owner.setdefault(owner, deque())
        partials.append(partial)
        return partials.popleft() if len(partials) > self._max_per_owner else None

    def forget(self, before: float) -> None:
        """Count no more those that were last changed before `before`, seconds since the epoch: they expire."""
        for owner, partials in list(self._by_owner.items()):
            while partials and partials[0].changed_at < before:
                partials.popleft()
            if not partials:
                del self._by_owner[owner]
