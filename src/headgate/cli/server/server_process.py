"""``headgate serve``: the process that serves one application on one address, until a signal ends it.

At the first SIGTERM or SIGINT the server drains: new jobs are refused (503, ``/readyz`` too), and running jobs have
`Config.drain_timeout` to end. After that, or at a second signal, they are stopped, with nothing left. Exit code 0.
"""

import asyncio
import contextlib
import ctypes
import errno
import gc
import logging
import resource
import signal
import ssl
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from headgate.app import REGISTRY, create_app
from headgate.cli.server.logging_setup import set_up_logging
from headgate.config import Config
from headgate.errors import ConfigError
from headgate.http1 import Listener
from headgate.web.jobs.job_links import JOB
from headgate.web.middleware.auth import Authenticate, anonymous_user, local_user
from headgate.web.middleware.origin import is_loopback
from headgate.web.middleware.tokens import Tokens

__all__ = ["ServeOptions", "serve", "settle_memory"]

logger = logging.getLogger("headgate.serve")

#: Seconds for connections to close at shutdown, after the jobs have ended and their answers have lingered.
CLOSE_TIMEOUT_SECONDS = 1.0

#: Bytes of freed memory that malloc keeps for the next allocation.
KEPT_FREE_BYTES = 16 * 1024 * 1024

#: Options of mallopt(3), from glibc's malloc.h: how much freed memory is kept, and from which size on memory is mapped.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """The address, the users, the certificate and the log of one server process."""

    host: str = "127.0.0.1"
    port: int = 8080
    tokens: Path | None = None
    anonymous: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_level: str = "info"


def serve(config: Config, options: ServeOptions) -> None:
    """Serve until a signal. Raises ConfigError, StorageUnusable, or OSError if it cannot listen on the address."""
    set_up_logging(options.log_level)
    authenticate = _authenticate(config, options)
    tls = _tls_context(options)
    _raise_descriptor_limit()
    settle_memory()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(create_app(config, authenticate=authenticate), config, options, tls))


async def _serve(app: web.Application, config: Config, options: ServeOptions, tls: ssl.SSLContext | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        app,
        # A handler whose client disconnects is cancelled at once, not at its next write.
        handler_cancellation=True,
        # A body with a content coding is refused (415), not decompressed.
        auto_decompress=False,
        # The log has a line for each job; one for each request only for debugging.
        access_log=logging.getLogger("aiohttp.access") if options.log_level == "debug" else None,
        shutdown_timeout=config.linger_timeout + CLOSE_TIMEOUT_SECONDS,
        # aiohttp's limit for the first headers of a connection, and for the next ones.
        keepalive_timeout=config.header_timeout,
    )
    await runner.setup()
    assert runner.server is not None
    listener = Listener(runner.server, config, tls=tls, has_watchdog=_is_watched)
    try:
        try:
            port = await listener.open(options.host, options.port)
        except OSError as error:
            raise OSError(_listen_error(options, error)) from error
        host = f"[{options.host}]" if ":" in options.host else options.host
        scheme = "http" if tls is None else "https"
        print(f"headgate: {scheme}://{host}:{port}/ root {_absolute(config.root)}", flush=True)
        await stop.wait()
        stop.clear()
        await _drain(app, config, runner, listener, stop)
    finally:
        await listener.close()
        await runner.cleanup()


def _absolute(root: Path | str) -> Path:
    return Path(root).resolve()


def _is_watched(request: web.BaseRequest) -> bool:
    """Is `request` a live transfer? Its own watchdog then ends an idle connection, and it may be paused for long."""
    job = request.get(JOB)
    return job is not None and not job.state.ended


def _listen_error(options: ServeOptions, error: OSError) -> str:
    where = f"{options.host}:{options.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use: another server listens there. Stop it, or choose another port with --port."
    if error.errno == errno.EACCES:
        return f"{where} may not be listened on: ports below 1024 need a privilege. Choose another with --port."
    return f"{where} cannot be listened on: {error.strerror or error}"


async def _drain(
    app: web.Application, config: Config, runner: web.AppRunner, listener: Listener, hurry: asyncio.Event
) -> None:
    """Wait until running jobs have ended, their time is up, or `hurry` is set; then stop those that are left."""
    jobs = app[REGISTRY]
    if running := len(jobs.live()):
        logger.info("draining %d jobs for at most %g s; a second signal ends them", running, config.drain_timeout)
    waits = [asyncio.create_task(jobs.drain(config.drain_timeout)), asyncio.create_task(hurry.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await jobs.shut_down()
    if hurry.is_set() and runner.server is not None:
        await asyncio.sleep(0)  # the ended jobs' tasks write their answers
        for connection in runner.server.connections:
            connection.force_close()
    await listener.flush(0.0 if hurry.is_set() else config.linger_timeout)


def _authenticate(config: Config, options: ServeOptions) -> Authenticate:
    """The authentication that `options` ask for. Raises ConfigError for an open server that was not asked for."""
    if options.tokens is not None:
        if options.anonymous:
            raise ConfigError("--tokens and --anonymous contradict each other.")
        return Tokens.read(options.tokens)
    if options.anonymous:
        return anonymous_user(config.cors_origins)
    if not is_loopback(options.host):
        raise ConfigError(
            f"Without --tokens every client that reaches {options.host} could upload, export and terminate."
            " Give --tokens FILE, or --anonymous if that is meant."
        )
    return local_user(config.cors_origins)


def _tls_context(options: ServeOptions) -> ssl.SSLContext | None:
    if options.tls_cert is None and options.tls_key is None:
        return None
    if options.tls_cert is None or options.tls_key is None:
        raise ConfigError("--tls-cert and --tls-key go together.")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"The certificate or its key cannot be used: {error}") from error
    return context


def _raise_descriptor_limit() -> None:
    """Raise the soft limit of descriptors to the hard one: each transfer needs two.

    The usual soft limit of 1,024 exists for programs that use select(), which this one does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def settle_memory() -> None:
    """Tune the garbage collector and malloc, once all modules are loaded.

    The objects of the modules are exempted from collection: with them each full collection would stop the loop for
    15 ms. And malloc keeps freed memory: otherwise each 256 KiB that are received would be mapped by the kernel and
    unmapped again, which is a tenth of the cost of an upload.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError, OSError):  # not every libc has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 1024 * 1024)
        mallopt(M_TRIM_THRESHOLD, KEPT_FREE_BYTES)
