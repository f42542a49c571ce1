"""What asyncio lacks: waiting without being interrupted, and asking for a cancellation."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["is_cancelled", "uninterrupted"]

T = TypeVar("T")


async def uninterrupted(awaitable: Awaitable[T]) -> T:
    """Wait for `awaitable` to end, even if the current task is cancelled meanwhile.

    A cancellation that arrives while we wait is not lost: it is delivered at the caller's next ``await``. Unlike
    ``asyncio.shield`` nothing is left running behind the caller's back, so a shutdown cannot lose it.
    """
    inner = asyncio.ensure_future(awaitable)
    cancels = 0
    while not inner.done():
        try:
            await _done(inner)
        except asyncio.CancelledError:
            cancels += 1
    if cancels:
        task = asyncio.current_task()
        assert task is not None
        # The count stays as it was (uncancel, then cancel again), so that code that counts cancellations, as
        # asyncio.timeout() and JobRegistry.run() do, still sees each of them once.
        for _ in range(cancels):
            task.uncancel()
        for _ in range(cancels):
            task.cancel()
    try:
        return inner.result()
    finally:
        # An exception keeps its frames, and this one would keep the exception: a circle that only the collector breaks,
        # with all that a request holds in it.
        del inner, awaitable


def _done(future: "asyncio.Future[T]") -> "asyncio.Future[None]":
    """Wait until `future` is done. Cancelling the wait does not cancel `future`."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda _: None if done.done() else done.set_result(None))
    return done


def is_cancelled() -> bool:
    """Return whether the current task was cancelled. If not, a CancelledError in it comes from something it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
