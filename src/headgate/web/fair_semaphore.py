"""Turns at work that is no job: a listing, a digest. However much one user asks for, others' turns come as soon."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["FairSemaphore"]


class FairSemaphore:
    """`at_once` of them; whoever waits is served in turn with other owners, first come first served within one."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn of `owner`; it lasts as long as the block."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(owner, deque()).append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # it had just come
                    self._next()
                raise
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            owner, theirs = self._waiting.popitem(last=False)
            turn = theirs.popleft()
            if theirs:
                self._waiting[owner] = theirs  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
