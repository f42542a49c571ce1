"""A job in JSON, as it reads in every answer and every event."""

import json
import math
from collections.abc import AsyncIterable, Iterable
from typing import Any

from headgate.jobs import JobInfo
from headgate.web.responses import rfc3339

__all__ = ["job_json", "job_text", "jobs_text", "list_text"]


def job_json(job: JobInfo) -> dict[str, Any]:
    """`job` as a JSON object."""
    left = job.seconds_left
    return {
        "id": job.id_text,
        "kind": job.kind,
        "state": job.state,
        "owner": job.owner,
        "names": job.names,
        "bytes_done": job.bytes_done,
        "bytes_total": job.bytes_total,
        "rate": round(job.rate),
        "limit": job.limit,
        "eta": None if left is None else math.ceil(left),
        "created_at": rfc3339(job.created_at),
        "updated_at": rfc3339(job.updated_at),
        "ended_at": None if job.ended_at is None else rfc3339(job.ended_at),
        "ended_by": job.ended_by,
        "reason": job.reason,
    }


def job_text(job: JobInfo) -> str:
    """`job` as the text of a JSON object."""
    return json.dumps(job_json(job))


def list_text(texts: Iterable[str]) -> str:
    """Jobs, each the text of a JSON object, as the text of ``{"jobs": [...]}``."""
    return '{"jobs": [' + ", ".join(texts) + "]}"


async def jobs_text(jobs: AsyncIterable[JobInfo]) -> str:
    """`jobs` as the text of ``{"jobs": [...]}``."""
    return list_text([job_text(job) async for job in jobs])
