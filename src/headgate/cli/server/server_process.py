"""``headgate serve``: one application on one address, until a signal.

SIGTERM and SIGINT end it, exit code 0: at the first, no new jobs are taken (503, ``/readyz`` too) and running ones may
end by themselves for a while; then, or at the second, they are ended with nothing left.
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

#: Seconds that connections are given at shutdown, after the jobs have ended and their answers have lingered.
SHUTDOWN_TIMEOUT = 1.0

#: Bytes of freed memory that are kept for the next who asks.
KEPT = 16 * 1024 * 1024

#: Options of mallopt(3) (glibc's malloc.h): from which size on memory comes from the kernel, and how much goes back.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where and for whom to serve."""

    host: str = "127.0.0.1"
    port: int = 8080
    tokens: Path | None = None
    anonymous: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_level: str = "info"


def serve(config: Config, options: ServeOptions) -> None:
    """Serve until a signal. Raises ConfigError, StorageUnusable, or OSError if the address cannot be had."""
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
        # A client that goes away is noticed at once, not at the next byte.
        handler_cancellation=True,
        # An encoded body is refused (415), not unpacked.
        auto_decompress=False,
        # One line a job is the log; one a request only for who debugs.
        access_log=logging.getLogger("aiohttp.access") if options.log_level == "debug" else None,
        shutdown_timeout=config.linger_timeout + SHUTDOWN_TIMEOUT,
        # aiohttp gives a connection so long for its first headers, and for the next ones.
        keepalive_timeout=config.header_timeout,
    )
    await runner.setup()
    assert runner.server is not None
    listener = Listener(runner.server, config, tls=tls, has_watchdog=_is_watched)
    try:
        try:
            port = await listener.open(options.host, options.port)
        except OSError as error:
            raise OSError(_unreachable(options, error)) from error
        host = f"[{options.host}]" if ":" in options.host else options.host
        scheme = "http" if tls is None else "https"
        print(f"headgate: {scheme}://{host}:{port}/ root {_whole(config.root)}", flush=True)
        await stop.wait()
        stop.clear()
        await _drain(app, config, runner, listener, stop)
    finally:
        await listener.close()
        await runner.cleanup()


def _whole(root: Path | str) -> Path:
    return Path(root).resolve()


def _is_watched(request: web.BaseRequest) -> bool:
    """Is `request` a transfer that is under way? It may be paused, and has a watch of its own."""
    job = request.get(JOB)
    return job is not None and not job.state.ended


def _unreachable(options: ServeOptions, error: OSError) -> str:
    where = f"{options.host}:{options.port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken: another server listens there. Stop it, or choose another with --port."
    if error.errno == errno.EACCES:
        return f"{where} may not be listened on: ports below 1024 are the system's. Choose another with --port."
    return f"{where} cannot be listened on: {error.strerror or error}"


async def _drain(
    app: web.Application, config: Config, runner: web.AppRunner, listener: Listener, hurry: asyncio.Event
) -> None:
    """Let running jobs end while the listening socket still answers, until they have, or `hurry` is set."""
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
    """Who may come in. Raises ConfigError rather than let the world in by accident."""
    if options.tokens is not None:
        if options.anonymous:
            raise ConfigError("--tokens and --anonymous contradict each other.")
        return Tokens.read(options.tokens)
    if options.anonymous:
        return anonymous_user(config.cors_origins)
    if not is_loopback(options.host):
        raise ConfigError(
            f"Without --tokens everybody who reaches {options.host} could upload, export and terminate."
            " Give --tokens FILE, or say --anonymous if that is meant."
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
    """Every transfer holds two descriptors; the usual soft limit of 1,024 is there for the sake of select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def settle_memory() -> None:
    """Take what was made so far from the garbage collector's hands, and keep at hand what memory is freed.

    The modules alone are so many objects that each full collection would stop the loop for 15 ms; without them it is
    in proportion to the transfers. And each 256 KiB that are received would come from the kernel and go back to it:
    a tenth of what an upload costs.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(AttributeError, OSError):  # not every libc has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 1024 * 1024)
        mallopt(M_TRIM_THRESHOLD, KEPT)
