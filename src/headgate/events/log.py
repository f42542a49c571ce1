"""The log: one line for each job that has ended, on the logger ``headgate.jobs``."""

import logging

from headgate.events.bus import EventBus
from headgate.events.types import JobEnded

__all__ = ["log_events"]

logger = logging.getLogger("headgate.jobs")


def log_events(bus: EventBus) -> None:
    """Log the events of `bus` from now on."""
    bus.listen(JobEnded, _log_ended)


def _log_ended(event: JobEnded) -> None:
    job = event.job
    assert job.ended_at is not None
    logger.info(
        "%s %s of %s %s%s: %d bytes in %.3f s",
        job.kind,
        job.id_text,
        job.owner,
        job.state,
        f" by {job.ended_by}" if job.ended_by else f" ({job.reason})" if job.reason else "",
        job.bytes_done,
        (job.ended_at - job.created_at).total_seconds(),
    )
