"""The event that tells of a published file, whichever way its bytes came."""

from headgate.events import FilePublished
from headgate.jobs import Actor, Job
from headgate.storage import Published

__all__ = ["published_event"]


def published_event(published: Published, job: Job) -> FilePublished:
    """The event for `published`, a file of `job`: its owner published it, from the address that began the job."""
    entry = published.entry
    by = Actor(job.owner, job.address)
    return FilePublished(entry.name, entry.size, entry.etag, published.replaced, job.id, by)
