"""Jobs: what runs, under which UUID, for whom, and how it ends. Knows neither HTTP nor files."""

from headgate.jobs.job import Job, Kind, State
from headgate.jobs.mirror import Command, Mirror
from headgate.jobs.table import Jobs

__all__ = ["Command", "Job", "Jobs", "Kind", "Mirror", "State"]
