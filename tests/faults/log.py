"""What must not be in a log: tracebacks, errors, and whatever asyncio has to complain of."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp.http_exceptions import HttpProcessingError

__all__ = ["faults_logged", "is_fault"]

_LOGGERS = ("headgate", "aiohttp", "asyncio")

#: So many say it all.
_MOST = 100


def is_fault(record: logging.LogRecord) -> bool:
    """Is this a line about an error of the server? aiohttp logs a malformed request as one that it cannot handle."""
    error = record.exc_info[1] if record.exc_info else None
    return record.levelno >= logging.ERROR and not isinstance(error, HttpProcessingError)


class _Collector(logging.Handler):
    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._faults) < _MOST and is_fault(record):
            error = "".join(traceback.format_exception(*record.exc_info)[-3:]) if record.exc_info else ""
            self._faults.append(f"logged: {record.name}: {record.getMessage()} {error}")


@contextmanager
def faults_logged(faults: list[str]) -> Iterator[None]:
    """Append to `faults` what is logged meanwhile and should not have been; keep the rest off the terminal."""
    collector = _Collector(faults)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [each.propagate for each in loggers]
    for each in loggers:
        each.addHandler(collector)
        each.propagate = False
    try:
        yield
    finally:
        for each, propagate in zip(loggers, before, strict=True):
            each.removeHandler(collector)
            each.propagate = propagate
