"""Jobs: what runs, under which UUID, for whom, and how it ends. Knows neither HTTP nor files."""

from headgate.jobs.job import Job
from headgate.jobs.lease import Hold, Lease
from headgate.jobs.mirror import Command, Mirror
from headgate.jobs.registry import Jobs
from headgate.jobs.states import Kind, State

__all__ = ["Command", "Hold", "Job", "Jobs", "Kind", "Lease", "Mirror", "State"]
