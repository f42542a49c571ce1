"""Which request may add to a resumable upload, wherever it arrives: one at a time.

The resumable core takes the lock of an upload before it enters the upload's partial file. A storage holds no locks that
others must know of.

Rules of this file:

- A lock ends with the process that holds it, however that ends.
- A holder can be asked to let go. It is asked; it is not robbed: the waiter gets the lock when it is released.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from headgate.errors import UploadLocked

__all__ = ["InProcessLockManager", "UploadLock", "UploadLockManager"]

#: Seconds that a waiter gives the holder, which was asked, to let go.
WAIT_SECONDS = 0.5


class UploadLock(Protocol):
    """The lock of one upload, which its caller holds."""

    async def release(self) -> None:
        """Let others have the lock."""


class UploadLockManager(Protocol):
    """The locks of all uploads of a service."""

    async def acquire(
        self,
        id: UUID,  # noqa: A002 - what it is
        *,
        on_requested: Callable[[], object],
    ) -> UploadLock:
        """Lock the upload `id`. `on_requested` is called, on the loop, when another wants the lock.

        Raises UploadLocked if the holder, which was asked, does not let go in time; UploadGone if the upload turns out
        to have no bytes any more; StorageFailed. A cancellation that comes while the lock is being taken is delivered
        at the caller's next ``await``, or nothing is locked.
        """


class InProcessLockManager:
    """The locks of a service that is one process."""

    def __init__(self) -> None:
        self._held: dict[UUID, _InProcessLock] = {}

    async def acquire(
        self,
        id: UUID,  # noqa: A002 - what it is
        *,
        on_requested: Callable[[], object],
    ) -> UploadLock:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while (holder := self._held.get(id)) is not None:
                    holder.on_requested()
                    await holder.released.wait()
        except TimeoutError:
            raise UploadLocked from None
        lock = self._held[id] = _InProcessLock(self._held, id, on_requested)
        return lock


class _InProcessLock:
    def __init__(self, held: "dict[UUID, _InProcessLock]", id_: UUID, on_requested: Callable[[], object]) -> None:
        self._held = held
        self._id = id_
        self.on_requested = on_requested
        self.released = asyncio.Event()

    async def release(self) -> None:
        if self._held.get(self._id) is self:
            del self._held[self._id]
            self.released.set()
