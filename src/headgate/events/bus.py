"""The event bus: publishers hand an event in, listeners are called with it, synchronously and in order.

Rules of this file:

- A listener can neither break nor hold up what it is told of: what it raises is logged, and it must not block. One that
  has work to do (a webhook, a file) puts the event into a queue of its own.
- A publisher on a hot path asks `wants` first, and makes no event without a listener.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from headgate.events.types import Event

__all__ = ["EventBus"]

logger = logging.getLogger("headgate.events")

E = TypeVar("E", bound=Event)


class EventBus:
    """The events of one application."""

    def __init__(self) -> None:
        self._listeners: dict[type[Any], list[Callable[[Any], object]]] = {}

    def listen(self, type_: type[E], listener: Callable[[E], object]) -> None:
        """Have `listener` called with every event of `type_` from now on."""
        self._listeners.setdefault(type_, []).append(listener)

    def wants(self, type_: type[Event]) -> bool:
        """Return whether any listener listens to events of `type_`."""
        return type_ in self._listeners

    def publish(self, event: Event) -> None:
        """Call all listeners to the type of `event`."""
        for listener in self._listeners.get(type(event), ()):
            try:
                listener(event)
            except Exception:
                logger.exception("a listener to %s has failed", type(event).__name__)
