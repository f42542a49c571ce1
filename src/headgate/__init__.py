"""headgate: uploads and exports that you can watch, pause, slow and stop. An aiohttp service, and an app factory.

This is the one door: what is not in ``__all__`` is not promised.
"""

import headgate.early  # noqa: F401 - first: what it does is for while the others are loaded
from headgate.app import JOBS, create_app
from headgate.config import Config, OnConflict
from headgate.errors import ConfigError, HeadgateError, Refused, StorageUnusable
from headgate.jobs import Job, Jobs, Kind, State
from headgate.storage import Source, Stage, StagedFile, Storage
from headgate.transfer.inbound.receive import ReceivedFile
from headgate.web.jobs.job_routes import JOB
from headgate.web.middleware.auth import USER, User

__all__ = [
    "JOB",
    "JOBS",
    "USER",
    "Config",
    "ConfigError",
    "HeadgateError",
    "Job",
    "Jobs",
    "Kind",
    "OnConflict",
    "ReceivedFile",
    "Refused",
    "Source",
    "Stage",
    "StagedFile",
    "State",
    "Storage",
    "StorageUnusable",
    "User",
    "create_app",
]
