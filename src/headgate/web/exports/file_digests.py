"""Digests of stored files, for whoever wants one with the file (RFC 9530, 4).

A digest is of a whole file, whatever part of it is asked for, and takes a look at every byte. So it is remembered for
as long as the file is the same one, is computed once for all who wait for it, and in turns between owners.
"""

import asyncio
from collections import OrderedDict

from headgate.lowlevel.fair_semaphore import FairSemaphore
from headgate.storage import Source
from headgate.transfer.outbound.stored import digest_stored

__all__ = ["Digests"]

#: Files that are read at once for their digests: each keeps a thread of the disk's and one that computes busy.
AT_ONCE = 4

#: Digests that are remembered: some 200 bytes each.
MOST_REMEMBERED = 10_000


class Digests:
    """Digests, by algorithm and by what tells one content from another."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._turns = FairSemaphore(AT_ONCE)
        self._computing: dict[tuple[str, str], asyncio.Lock] = {}

    async def of(self, source: Source, algorithm: str, owner: str) -> dict[str, bytes]:
        """The digest of `source`, by its `algorithm`, for `owner`. Raises StorageFailed."""
        key = algorithm, source.entry.etag
        if key not in self._known:
            lock = self._computing.setdefault(key, asyncio.Lock())
            try:
                async with lock:
                    if key not in self._known:
                        async with self._turns.of(owner):
                            self._known[key] = (await digest_stored(source, algorithm))[algorithm]
            finally:
                if not lock.locked():
                    self._computing.pop(key, None)
        self._known.move_to_end(key)
        digest = self._known[key]
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return {algorithm: digest}
