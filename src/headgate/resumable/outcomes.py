"""Of how many uploads that are over is still told, for each owner.

The record of an upload outlives it for as long as uploads are kept, so that a client that lost the last answer learns
what has become of it. An owner who completes very many has the oldest of them forgotten sooner.
"""

from collections import deque

from headgate.storage import PartialFile

__all__ = ["Outcomes"]


class Outcomes:
    """What is kept of uploads that are over, at most `most` of each owner. What was over when the process began does
    not count; it expires."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: dict[str, deque[PartialFile]] = {}

    def add(self, owner: str, kept: PartialFile) -> PartialFile | None:
        """Count what is `kept` of an upload of `owner`; return what is to go instead, if there are too many."""
        theirs = self._of.setdefault(owner, deque())
        theirs.append(kept)
        return theirs.popleft() if len(theirs) > self._most else None

    def forget(self, before: float) -> None:
        """Do not count what has expired: nothing came since `before`, seconds since the epoch."""
        for owner, theirs in list(self._of.items()):
            while theirs and theirs[0].changed_at < before:
                theirs.popleft()
            if not theirs:
                del self._of[owner]
