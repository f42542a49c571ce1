"""Links to jobs: their URLs, under whatever prefix the application is mounted, and what responses say of them."""

from aiohttp import web

from headgate.jobs import Job, JobInfo

__all__ = ["JOB", "JOB_ROUTE", "PUBLIC_PATH", "job_headers", "job_url", "public_path"]

#: Where code that runs within a transfer's request finds its job.
JOB = web.RequestKey("headgate.job", Job)

#: The name of the route of one job. All links to jobs are built from its place in the router.
JOB_ROUTE = "job"

#: The path of `Config.public_url`: what a proxy puts before the application's own.
PUBLIC_PATH = web.AppKey("headgate.public_path", str)


def public_path(request: web.Request, path: str) -> str:
    """`path` as clients know it."""
    return request.app[PUBLIC_PATH] + path


def job_url(request: web.Request, job: Job | JobInfo) -> str:
    """The path of `job`, as clients know it."""
    return public_path(request, request.app.router[JOB_ROUTE].canonical.format(id=job.id_text))


def job_headers(request: web.Request, job: Job | JobInfo) -> dict[str, str]:
    """The headers of every response to a transfer (RFC 8631: the status link tells what has become of it)."""
    return {"Job-Id": job.id_text, "Link": f'<{job_url(request, job)}>; rel="status"'}
