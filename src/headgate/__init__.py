"""headgate: uploads and exports that you can watch, pause, slow and stop. An aiohttp service, and an app factory.

This is the one door: what is not in ``__all__`` is not promised.
"""

import headgate.early  # noqa: F401 - first: what it does is for while the others are loaded
from headgate.app import EVENTS, JOBS, create_app
from headgate.cluster import JobDirectory, Pause, Resume, SetRate, Terminate
from headgate.config import Config, OnConflict
from headgate.errors import ConfigError, HeadgateError, Refused, StorageUnusable
from headgate.jobs import Actor, Job, JobInfo, Kind, State
from headgate.storage import Source, Stage, StagedFile, Storage
from headgate.transfer.inbound.approval import ReceivedFile
from headgate.web.jobs.job_links import JOB
from headgate.web.middleware.auth import USER, User

__all__ = [
    "EVENTS",
    "JOB",
    "JOBS",
    "USER",
    "Actor",
    "Config",
    "ConfigError",
    "HeadgateError",
    "Job",
    "JobDirectory",
    "JobInfo",
    "Kind",
    "OnConflict",
    "Pause",
    "ReceivedFile",
    "Refused",
    "Resume",
    "SetRate",
    "Source",
    "Stage",
    "StagedFile",
    "State",
    "Storage",
    "StorageUnusable",
    "Terminate",
    "User",
    "create_app",
]
