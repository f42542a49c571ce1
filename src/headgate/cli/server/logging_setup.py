"""The log of ``headgate serve``: lines on standard error, written by a thread.

The reader of standard error (a pipe, a terminal) may stop reading. Then lines wait in a queue, and the event loop goes
on; when the queue is full, lines are dropped, and their number is logged once the reader reads again.
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

#: Lines that may wait to be written: some hundred bytes each. A disk or a terminal is behind only for moments.
MAX_WAITING_LINES = 10_000

#: Seconds that the process waits, when it ends, for the last lines to be written.
EXIT_WAIT_SECONDS = 1.0


def set_up_logging(level: str) -> None:
    """Log records of `level` (a name of `logging`'s, in lower case) and above."""
    waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(MAX_WAITING_LINES)
    queued = _DroppingQueueHandler(waiting)
    logging.basicConfig(handlers=[queued], level=level.upper())
    writer = threading.Thread(target=_write, args=(waiting, queued), name="headgate-log", daemon=True)
    writer.start()
    atexit.register(_end, waiting, writer)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_without_traceback)
    # A client with malformed headers is answered with 400; a warning of aiohttp's would only fill the log.
    warnings.simplefilter("ignore", aiohttp.BadContentDispositionHeader)
    warnings.simplefilter("ignore", aiohttp.BadContentDispositionParam)


class _DroppingQueueHandler(logging.handlers.QueueHandler):
    """Puts records into the queue of the writing thread; drops a record when the queue is full."""

    def __init__(self, waiting: "queue.Queue[logging.LogRecord | None]") -> None:
        super().__init__(waiting)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """`record` itself: the writing thread formats it."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


def _write(waiting: "queue.Queue[logging.LogRecord | None]", queued: _DroppingQueueHandler) -> None:
    # Not by a handler of `logging`: at exit it is flushed without a limit in time, and the reader may never read.
    while (record := waiting.get()) is not None:
        _write_one(record)
        if queued.dropped:
            dropped, queued.dropped = queued.dropped, 0
            text = f"{dropped} lines of the log were dropped: standard error was not read"
            _write_one(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None))


def _write_one(record: logging.LogRecord) -> None:
    line = (_FORMAT.format(record) + "\n").encode(errors="backslashreplace")
    with suppress(OSError):  # standard error is closed
        while line:
            line = line[os.write(2, line) :]


def _end(waiting: "queue.Queue[logging.LogRecord | None]", writer: threading.Thread) -> None:
    try:
        waiting.put(None, timeout=EXIT_WAIT_SECONDS)
    except queue.Full:
        return
    writer.join(EXIT_WAIT_SECONDS)


def _without_traceback(record: logging.LogRecord) -> bool:
    """A filter: aiohttp logs a malformed request with a traceback; it is the client's error, and one line suffices."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.msg, record.args = f"malformed request: {type(error).__name__}", ()
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True
