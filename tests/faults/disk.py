"""A disk that fails: any call that the local storage makes of the operating system, at any point, with any error.

How to use it for another scenario: write a coroutine that takes a running Server and does something to it, add it to
SCENARIOS with the content that the root has before and after, and `every_fault` runs it once without a fault, to learn
which calls it makes, and then once for each call and each error, on a fresh root. After each run it looks whether the
outcome was clear and nothing was left.
"""

import errno
import importlib
import json
import logging
import os
import pkgutil
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import headgate.storage
from faults.scenarios import CLEAR, SCENARIOS, Files, Scenario, uploading
from headgate.storage.local.partial.stored_record import StoredRecord
from support import Server, eventually, serving

#: The calls of the operating system that can fail. Those that only look at a descriptor cannot.
CALLS = (
    *("open", "write", "fsync", "link", "rename", "unlink", "stat", "fstat", "statvfs", "pread", "mkdir"),
    *("setxattr", "getxattr", "scandir", "close", "flock", "fcntl", "preadv", "posix_fadvise", "writev"),
    *("lseek", "ftruncate", "copy_file_range", "sendfile", "utime"),
)

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EROFS)


class FailingCalls:
    """Stands where the storage's modules have `os` and `fcntl`: counts their calls, and fails one of them.

    `fail_at`: the number of the call, or None; `number`: the error. Calls come from threads, too.
    """

    def __init__(self, fail_at: int | None = None, number: int = 0) -> None:
        self.calls: list[str] = []
        self.failed: str | None = None
        self._fail_at = fail_at
        self._number = number
        self._lock = threading.Lock()

    def wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                fails = len(self.calls) == self._fail_at
                self.calls.append(name)
            if not fails:
                return real(*args, **kwargs)
            self.failed = name
            if name == "close":
                real(*args, **kwargs)  # Linux closes, whatever it then says
            raise OSError(self._number, os.strerror(self._number))

        return call

    @contextmanager
    def installed(self) -> Iterator[None]:
        """While the block runs, every module of the local storage calls through this."""
        names = (info.name for info in pkgutil.walk_packages(headgate.storage.__path__, "headgate.storage."))
        replaced = [
            (module, attribute, getattr(module, attribute))
            for module in map(importlib.import_module, names)
            for attribute in ("os", "fcntl")
            if hasattr(module, attribute)
        ]
        try:
            for module, attribute, real in replaced:
                setattr(module, attribute, _Namespace(self, real))
            yield
        finally:
            for module, attribute, real in replaced:
                setattr(module, attribute, real)


class _Namespace:
    def __init__(self, calls: FailingCalls, real: Any) -> None:
        for name in dir(real):
            value = getattr(real, name)
            setattr(self, name, calls.wrap(name, value) if name in CALLS else value)


@dataclass
class FaultResult:
    """How many faults were injected, and a sentence for each that was not dealt with."""

    injected: int = 0
    failures: list[str] = field(default_factory=list)


class _Tracebacks(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(record.getMessage())


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _is_told(server: Server, name: str) -> bool:
    """Is it of a resumable upload that is over? What is left of its bytes goes with the next look at it, or start."""
    record = server.root / ".staging" / (name if name.endswith(".json") else name + ".json")
    if ".kept" not in name or not record.exists():
        return False
    stored = StoredRecord.load(record.read_text())
    return stored.published is not None or json.loads(stored.text)["outcome"] is not None


def _lay_out(root: Path, files: Files) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name, data in files.items():
        (root / name).write_bytes(data)


@asynccontextmanager
async def _fresh(root: Path, scenario: Scenario) -> AsyncIterator[Server]:
    _lay_out(root, scenario.before)
    async with serving(root, config={"watch_interval": 0.05} | scenario.config) as server:
        yield server


async def one_fault(root: Path, scenario: Scenario, calls: FailingCalls) -> list[str]:
    """Run `scenario` on a fresh root with `calls` installed. Returns what is wrong afterwards, in words."""
    wrong: list[str] = []
    tracebacks = _Tracebacks()
    logging.getLogger().addHandler(tracebacks)
    try:
        async with _fresh(root, scenario) as server:
            before = _descriptors()
            with calls.installed():
                outcome = await scenario.act(server)
                await eventually(lambda: not server.jobs.live(), "the end of the job")
                # Closing goes on in threads; it belongs to the scenario.
                await eventually(lambda: _descriptors() <= before + 2, "the closing of descriptors")
            published = server.published()
            expected = scenario.after if outcome.status in (200, 201) else scenario.before
            if published != expected:
                wrong.append(f"{outcome} and yet there is {sorted(published)}")
            if outcome not in CLEAR:
                wrong.append(f"not a clear outcome: {outcome}")
            await server.storage.tidy()
            if left := [name for name in server.staged() if not _is_told(server, name)]:
                wrong.append(f"left staged: {left}")
            if server.storage.ledger.counts and server.storage.ledger.total != sum(map(len, published.values())):
                wrong.append(f"the quota has {server.storage.ledger.total} of {sum(map(len, published.values()))}")
            if (again := await uploading({"afterwards": b"x"})(server)).status != 201:
                wrong.append(f"the next upload: {again}")
    except AssertionError as error:
        wrong.append(f"never ended: {error}")
    finally:
        logging.getLogger().removeHandler(tracebacks)
    return wrong + [f"a traceback: {message}" for message in tracebacks.found]


async def every_fault(root: Path, name: str, errors: tuple[int, ...] = ERRORS, *, each: bool = True) -> FaultResult:
    """Fail every call that the scenario `name` makes: with each of `errors`, or with one of them in turn."""
    scenario = SCENARIOS[name]
    result = FaultResult()
    count = FailingCalls()
    result.failures += [f"{name}, no fault: {problem}" for problem in await one_fault(root, scenario, count)]
    for index in range(len(count.calls)):
        for number in errors if each else (errors[index % len(errors)],):
            calls = FailingCalls(index, number)
            wrong = await one_fault(root, scenario, calls)
            result.injected += calls.failed is not None
            what = f"{name}, call {index}: {calls.failed} fails with {errno.errorcode[number]}"
            result.failures += [f"{what}: {problem}" for problem in wrong]
    return result
