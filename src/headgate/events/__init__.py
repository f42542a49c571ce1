"""Typed events: what happened, who did it, to what, and from which address; and who listens."""

from headgate.events.bus import EventBus
from headgate.events.log import log_events
from headgate.events.types import (
    AccessDenied,
    Event,
    FileDeleted,
    FilePublished,
    JobChanged,
    JobEnded,
    JobProgressed,
)

__all__ = [
    "AccessDenied",
    "Event",
    "EventBus",
    "FileDeleted",
    "FilePublished",
    "JobChanged",
    "JobEnded",
    "JobProgressed",
    "log_events",
]
