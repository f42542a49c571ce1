"""create_app(): the composition root. It makes one of everything and connects them; no other file knows every room."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from headgate.cluster import InProcessLockManager, JobDirectory, LocalJobDirectory, UploadLockManager
from headgate.config import Config
from headgate.events import EventBus, log_events
from headgate.jobs import JobRegistry
from headgate.lowlevel.aiohttp_check import check_aiohttp
from headgate.resumable import ResumableUploads
from headgate.storage import Ledger, LocalStorage, Storage
from headgate.transfer.inbound.approval import OnReceived
from headgate.transfer.inbound.receive import UploadRules
from headgate.web.exports.export_routes import Export, ExportRoutes, checked_exports
from headgate.web.files.file_routes import FileRoutes
from headgate.web.files.upload_routes import UploadRoutes
from headgate.web.health_routes import HEALTH_ROUTES, HealthRoutes
from headgate.web.jobs.event_routes import EventRoutes
from headgate.web.jobs.job_links import PUBLIC_PATH
from headgate.web.jobs.job_routes import JobRoutes
from headgate.web.middleware.auth import Authenticate, authentication, only_user
from headgate.web.middleware.cors import cors, exposing
from headgate.web.middleware.fallback import Fallback
from headgate.web.middleware.problems import problems
from headgate.web.page.page_routes import PAGE_ROUTES, PageRoutes
from headgate.web.page.session_routes import SESSION_ROUTES, SessionRoutes
from headgate.web.responses import apply_default_headers
from headgate.web.resumable.ietf_routes import IetfRoutes
from headgate.web.resumable.tus_routes import TusRoutes, say_version

__all__ = ["EVENTS", "JOBS", "REGISTRY", "create_app"]

#: Where the embedding service finds the jobs of an application: ``app[headgate.JOBS]``.
JOBS = web.AppKey("headgate.jobs", JobDirectory)

#: The jobs of this process, for the code that runs the server.
REGISTRY = web.AppKey("headgate.registry", JobRegistry)

#: Where the embedding service subscribes to the events of an application: ``app[headgate.EVENTS]``.
EVENTS = web.AppKey("headgate.events", EventBus)


def create_app(
    config: Config | None = None,
    *,
    authenticate: Authenticate | None = None,
    storage: Storage | None = None,
    upload_locks: UploadLockManager | None = None,
    exports: Mapping[str, Export] | None = None,
    on_received: OnReceived | None = None,
) -> web.Application:
    """An application of uploads and exports, each of which is a job that its owner can pause, slow and terminate.

    Serve it alone or mount it with ``add_subapp`` under any prefix, as often as wanted; nothing is global.

    - `authenticate(request)` returns the User who sent the request, or None for an unknown one (401). It may be a
      coroutine function. Without it there is one user, to whom everything belongs: bind such an application to
      loopback.
    - `storage`: where files live; by default the directory ``config.root``. Another storage has its own quotas:
      ``quota``, ``quota_per_owner``, ``min_free`` and ``min_free_files`` of `config` are for the default one.
    - `upload_locks`: which request may add to a resumable upload; by default the locks of the directory, so that
      several processes may share it; with another `storage` those of this process alone.
    - `exports`: names to async generator functions of bytes. ``POST /export`` serves them by that name. They are called
      with the request if they take an argument (``request[headgate.JOB]`` and ``request[headgate.USER]`` tell more),
      and closed however the export ends, so that a ``finally`` or a transaction in them ends too.
    - `on_received(job, files)` is awaited after the last byte and before anything is published. Raising refuses the
      upload (422, with the exception's message; any HeadgateError keeps its own status). It is cancelled by terminate.

    Raises ConfigError or InvalidName for an argument that is not valid, and ConfigError for a version of aiohttp whose
    internals are not those that headgate uses. The startup of the application raises StorageUnusable.
    """
    check_aiohttp()
    config = config or Config()
    generated = checked_exports(exports)
    storage = storage or local_storage(config)
    if upload_locks is None:
        upload_locks = storage.upload_locks if isinstance(storage, LocalStorage) else InProcessLockManager()
    jobs = JobRegistry(
        max_jobs=config.max_jobs,
        max_jobs_per_owner=config.max_jobs_per_owner,
        ended_jobs=config.ended_jobs,
        terminate_timeout=config.terminate_timeout,
        owner_rate=config.owner_rate,
        total_rate=config.total_rate,
    )
    bus = EventBus()
    log_events(bus)
    directory = LocalJobDirectory(jobs, bus)

    authenticate = authenticate or only_user
    open_to_all = HEALTH_ROUTES | PAGE_ROUTES | SESSION_ROUTES

    middlewares = [problems(config, bus), authentication(authenticate, open_to_all=open_to_all)]
    if config.cors_origins:  # each is a frame that a slow transfer holds on to
        middlewares.insert(1, cors(config.cors_origins))
    app = web.Application(middlewares=middlewares)
    app[JOBS] = directory
    app[EVENTS] = bus
    app[REGISTRY] = jobs
    app[PUBLIC_PATH] = urlsplit(config.public_url or "").path.rstrip("/")
    reserved = frozenset(generated)
    resumable = ResumableUploads(config, jobs, storage, upload_locks, bus, reserved=reserved, on_received=on_received)
    ietf = IetfRoutes(config, resumable)
    rules = UploadRules.of(config, reserved=reserved, on_received=on_received)
    UploadRoutes(config, jobs, directory, storage, bus, rules=rules, resumable_handler=ietf.handler_of).add_to(
        app.router
    )
    ietf.add_to(app.router)
    TusRoutes(config, resumable, storage, bus).add_to(app.router)
    exports_ = ExportRoutes(config, jobs, directory, storage, generated)
    exports_.add_to(app.router)
    events = EventRoutes(config, directory)
    events.add_to(app.router)
    JobRoutes(config, directory).add_to(app.router)
    FileRoutes(config, storage, exports_, generated, bus).add_to(app.router)
    SessionRoutes(config, authenticate).add_to(app.router)
    PageRoutes().add_to(app.router)
    HealthRoutes(jobs, storage).add_to(app.router)
    app.router.register_resource(Fallback(app.router))

    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:  # if one fails to start, those before it are closed
            jobs.open()
            for room in (storage, resumable):
                await room.start()
                stack.push_async_callback(room.close)
            yield

    async def shut_down(app: web.Application) -> None:
        await jobs.drain(config.drain_timeout)
        await jobs.shut_down()
        events.close()

    app.cleanup_ctx.append(lifetime)
    app.on_shutdown.append(shut_down)
    app.on_response_prepare.append(apply_default_headers)
    app.on_response_prepare.append(say_version)
    app.on_response_prepare.append(exposing(config.cors_origins))
    app.on_response_prepare.append(_harden)
    return app


def local_storage(config: Config) -> LocalStorage:
    """The storage in the directory ``config.root``, with the quotas of `config`."""
    ledger = Ledger(quota=config.quota, quota_per_owner=config.quota_per_owner, min_free=config.min_free)
    return LocalStorage(
        Path(config.root),
        ledger=ledger,
        threads=config.storage_threads,
        min_free_files=config.min_free_files,
        sweep_interval=config.sweep_interval,
        keep_for=config.upload_expiry,
    )


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    """An ``on_response_prepare``: no browser guesses a type, and no cache keeps an answer that does not allow it."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
