"""An event loop whose time passes only while it would wait: seconds of rates, exact to the byte, in no time.

``run_virtually(main, monkeypatch)`` runs a coroutine function of nothing on such a loop, and sets the clock of the
jobs' room by it.
"""

import asyncio
import math
import selectors
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import TypeVar

import pytest

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Waits for nothing: what it was to wait has passed."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for something that never comes"
        self.now += math.ceil(max(0.0, timeout) * 1000) / 1000  # a real one's clock has milliseconds
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = _Selector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


def run_virtually(main: Callable[[], Awaitable[T]], monkeypatch: pytest.MonkeyPatch) -> T:
    """What `main()` gives."""
    loop = VirtualLoop()
    clock = SimpleNamespace(**(vars(time) | {"monotonic": loop.time}))
    for room in ("rates.throttle", "job"):
        monkeypatch.setattr(f"headgate.jobs.{room}.time", clock)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())
