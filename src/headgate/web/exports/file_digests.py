"""Digests of stored files, for clients that ask for one with the file (Want-Repr-Digest; RFC 9530, 4).

A digest is of the whole file, whatever range the client asks for, and costs reading all of it. So digests are cached by
the file's entity tag, computed once for all requests that wait for the same one, and computed in turns between owners.
"""

import asyncio
from collections import OrderedDict

from headgate.lowlevel.fair_semaphore import FairSemaphore
from headgate.storage import Source
from headgate.transfer.outbound.stored import digest_stored

__all__ = ["Digests"]

#: Digests that are computed at the same time: each keeps a disk thread and a computing thread busy.
CONCURRENT_DIGESTS = 4

#: Digests in the cache: some 200 bytes each.
MAX_CACHED_DIGESTS = 10_000


class Digests:
    """A cache of digests, by algorithm and entity tag."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._turns = FairSemaphore(CONCURRENT_DIGESTS)
        self._computing: dict[tuple[str, str], asyncio.Lock] = {}

    async def of(self, source: Source, algorithm: str, owner: str) -> dict[str, bytes]:
        """The digest of `source` by `algorithm`, as a mapping of that one algorithm. Raises StorageFailed.

        `owner`: of the request, for the turns in which files are read.
        """
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
        while len(self._known) > MAX_CACHED_DIGESTS:
            self._known.popitem(last=False)
        return {algorithm: digest}
