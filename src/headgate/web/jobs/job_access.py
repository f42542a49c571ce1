"""Who may see and command which jobs (G6): a user their own, an admin those of all users.

A stranger's job answers exactly as one that does not exist. The URLs of resumable uploads follow the same rule: their
handlers find an upload by `find` in `web/resumable/requests.py`.
"""

from uuid import UUID

from aiohttp import web

from headgate.cluster import JobDirectory
from headgate.jobs import Actor, JobInfo
from headgate.web.middleware.auth import USER, User

__all__ = ["find_job", "requesting_actor", "visible_owner"]


def visible_owner(user: User) -> str | None:
    """The name of the only owner whose jobs `user` may see, or None if `user` is an admin, who may see all."""
    return None if user.admin else user.name


async def find_job(directory: JobDirectory, user: User, id_: UUID) -> JobInfo | None:
    """The job `id_` of `user`; for an admin who has none by that id, that of any owner."""
    job = await directory.get(id_, user.name)
    return await directory.get(id_) if job is None and user.admin else job


def requesting_actor(request: web.Request) -> Actor:
    """The user of `request`, and the address that it came from."""
    return Actor(request[USER].name, request.remote)
