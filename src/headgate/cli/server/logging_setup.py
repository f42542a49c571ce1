"""The log of ``headgate serve``: lines on standard error, written by a thread.

Whoever reads standard error may stop reading it. A line then waits in a queue, and not the event loop; when the queue
is full lines are dropped, and counted, and the number is told when somebody reads again.
"""

import atexit
import logging
import logging.handlers
import os
import queue
import threading
import warnings
from contextlib import suppress

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

__all__ = ["set_up_logging"]

#: Lines that wait to be written: some hundred bytes each. A disk, or a terminal, is behind for a moment at most.
MOST_WAITING = 10_000

#: Seconds for which the process waits at its end for lines to be written.
PATIENCE = 1.0


def set_up_logging(level: str) -> None:
    """Log from `level` on."""
    waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(MOST_WAITING)
    queued = _Queued(waiting)
    logging.basicConfig(handlers=[queued], level=level.upper())
    writer = threading.Thread(target=_write, args=(waiting, queued), name="headgate-log", daemon=True)
    writer.start()
    atexit.register(_end, waiting, writer)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_without_traceback)
    # Clients send malformed headers; they are answered with a 400, and that is all.
    warnings.simplefilter("ignore", aiohttp.BadContentDispositionHeader)
    warnings.simplefilter("ignore", aiohttp.BadContentDispositionParam)


class _Queued(logging.handlers.QueueHandler):
    """Leaves a record for the thread that writes; never waits."""

    def __init__(self, waiting: "queue.Queue[logging.LogRecord | None]") -> None:
        super().__init__(waiting)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """As it is: the thread puts it into words."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


def _write(waiting: "queue.Queue[logging.LogRecord | None]", queued: _Queued) -> None:
    # Not by a handler of logging's: at the end of the process it would be waited for, and for whom it waits for.
    while (record := waiting.get()) is not None:
        _write_one(record)
        if queued.dropped:
            dropped, queued.dropped = queued.dropped, 0
            text = f"{dropped} lines of the log were dropped: nobody read them"
            _write_one(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None))


def _write_one(record: logging.LogRecord) -> None:
    line = (_FORMAT.format(record) + "\n").encode(errors="backslashreplace")
    with suppress(OSError):  # there is nobody left to be told
        while line:
            line = line[os.write(2, line) :]


def _end(waiting: "queue.Queue[logging.LogRecord | None]", writer: threading.Thread) -> None:
    try:
        waiting.put(None, timeout=PATIENCE)
    except queue.Full:
        return
    writer.join(PATIENCE)


def _without_traceback(record: logging.LogRecord) -> bool:
    """aiohttp logs a request that is not HTTP with a traceback. It is the client's fault: one line will do."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.msg, record.args = f"malformed request: {type(error).__name__}", ()
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True
