"""The servers that are compared, each a process of its own on the first processor."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from bench.install import YARDSTICKS, Missing, nginx, node

__all__ = ["SERVERS", "Missing", "Running", "client_processor", "serving"]

#: Seconds within which a server is to listen.
PATIENCE = 20.0


@dataclass(frozen=True)
class Running:
    """A server, and where it stores."""

    name: str
    pid: int
    port: int
    root: Path

    def stored(self, name: str) -> Path:
        return self.root / name


@dataclass(frozen=True)
class Place:
    """What a server is told: where to store, where to keep what is its own, and where to listen."""

    root: Path
    home: Path
    port: int


def _python(script: str) -> Callable[[Place], list[str]]:
    return lambda place: [sys.executable, str(YARDSTICKS / script), str(place.root), str(place.port)]


def _node(script: str) -> Callable[[Place], list[str]]:
    return lambda place: [*node(script), str(place.root), str(place.port)]


def _headgate(*options: str) -> Callable[[Place], list[str]]:
    # The others log nothing either.
    told = ("--log-level", "warning", "--on-conflict", "replace", *options)
    return lambda place: [
        *(sys.executable, "-m", "headgate", "serve", "--root", str(place.root), "--port", str(place.port), *told)
    ]


def _with_tls(command: Callable[[Place], list[str]], certificate: str, key: str) -> Callable[[Place], list[str]]:
    """`command`, told by these options where its certificate and the certificate's key are."""

    def told(place: Place) -> list[str]:
        chain, private = _certificate(place.home)
        return [*command(place), certificate, str(chain), key, str(private)]

    return told


def _certificate(home: Path) -> tuple[Path, Path]:
    """A new one, of an authority that nobody knows, and its key."""
    chain, key = home / "certificate.pem", home / "key.pem"
    issued = trustme.CA().issue_cert("127.0.0.1")
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return chain, key


def _starlette(place: Place) -> list[str]:
    # With the faster parts that uvicorn[standard] brings: httptools and uvloop.
    where = ("--app-dir", str(YARDSTICKS), "--port", str(place.port))
    return [
        *(sys.executable, "-m", "uvicorn", "starlette_app:app", *where),
        *("--no-access-log", "--log-level", "error", "--http", "httptools", "--loop", "uvloop"),
    ]


def _nginx(buffer: str, *, tls: bool = False) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        program = nginx()
        user = f"user {pwd.getpwuid(os.getuid()).pw_name};" if os.getuid() == 0 else ""
        text = string.Template((YARDSTICKS / "nginx.conf").read_text())
        config = place.home / "nginx.conf"
        secured = ""
        if tls:
            chain, key = _certificate(place.home)
            secured = f"ssl_certificate {chain}; ssl_certificate_key {key};"
        told = {"root": place.root, "home": place.home, "port": place.port, "buffer": buffer, "user": user}
        config.write_text(text.substitute(told, ssl="ssl" if tls else "", secured=secured))
        return [program, "-e", "stderr", "-p", str(place.home), "-c", str(config)]

    return command


SERVERS: dict[str, Callable[[Place], list[str]]] = {
    "floor": _python("floor.py"),
    "one fsync at a time": _python("fsyncs.py"),
    "headgate": _headgate(),
    "headgate, PUT": _headgate(),
    "headgate, embedded": _python("embedded.py"),
    # So high that it never holds anything: what it costs to be asked.
    "headgate, rate limit": _headgate("--total-rate", "1TB"),
    "headgate, 100 watchers": _headgate(),
    # With a buffer as large as ours, its best; and as it comes.
    "nginx": _nginx("1m"),
    "nginx, default": _nginx("16k"),
    "headgate, TLS": _with_tls(_headgate(), "--tls-cert", "--tls-key"),
    "nginx, TLS": _nginx("1m", tls=True),
    "Starlette, TLS": _with_tls(_starlette, "--ssl-certfile", "--ssl-keyfile"),
    "busboy": _node("busboy.mjs"),
    "formidable": _node("formidable.mjs"),
    "@tus/server": _node("tus.mjs"),
    "Starlette": _starlette,
    "aiohttp, naive": _python("naive.py"),
}


#: All that this process may use before it is bound to one.
_PROCESSORS = os.sched_getaffinity(0)


def client_processor() -> None:
    """Have this process leave the first processor to the servers, where there is another."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def serving(name: str, directory: Path) -> Iterator[Running]:
    """Run the server `name`, storing below `directory`, until the block is left. Raises Missing."""
    where = Path(tempfile.mkdtemp(dir=directory))
    try:
        place = Place(where / "root", where / "home", _free_port())
        for each in (place.root, place.home, where / "temp"):
            each.mkdir()
        environment = os.environ | {
            "BENCH_ROOT": str(place.root),
            "TMPDIR": str(where / "temp"),
            # The yardsticks' tools must not write into the tree.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        told = SERVERS[name](place)
        with (place.home / "errors").open("wb") as errors:
            process = subprocess.Popen(told, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
        # At once, so that whatever it starts is bound with it.
        os.sched_setaffinity(process.pid, {min(_PROCESSORS)})
        try:
            _wait_for(process, place)
            yield Running(name, process.pid, place.port, place.root)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    finally:
        shutil.rmtree(where)


def _wait_for(process: "subprocess.Popen[bytes]", place: Place) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", place.port)):
            return
        time.sleep(0.005)
    raise Missing("it does not start: " + (place.home / "errors").read_text(errors="replace")[-300:])
