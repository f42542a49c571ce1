"""Jobs: what runs, under which UUID, for whom, and how it ends. Knows neither HTTP nor files.

The code that runs a job holds a `Job`; other code sees a `JobInfo`, and sends commands (``headgate.cluster``).
"""

from headgate.jobs.info import Actor, JobInfo
from headgate.jobs.job import Job
from headgate.jobs.lease import Attachment, Lease
from headgate.jobs.registry import JobRegistry
from headgate.jobs.resumable_job import ResumableJob
from headgate.jobs.states import Kind, State

__all__ = ["Actor", "Attachment", "Job", "JobInfo", "JobRegistry", "Kind", "Lease", "ResumableJob", "State"]
