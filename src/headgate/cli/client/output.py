"""The output of the command line: tables and bars on a terminal, plain lines in a pipe, or JSON lines (``--json``)."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from headgate.cli.client.remote_job import Bar
from headgate.lowlevel.readable_size import readable

__all__ = ["Output", "short", "size_text"]

#: Ended jobs that ``jobs --watch`` still shows on a terminal.
ENDED_SHOWN = 10

#: Seconds between two progress lines of one job in a pipe.
LINE_INTERVAL_SECONDS = 1.0

_ENDED = ("completed", "failed", "terminated")
_COLOURS = {"paused": "yellow", "completed": "green", "failed": "red", "terminated": "red"}


#: A number of bytes as text: ``"1.4 MiB"``, ``"512 B"``.
size_text = partial(readable, byte_unit="B")


def short(id_: str) -> str:
    """The beginning of a job's id, as people read it; every command accepts it."""
    return id_[:8]


def _names(job: Any) -> str:
    first, *others = job["names"] or ["-"]
    return f"{first} and {len(others)} more" if others else str(first)


def _progress(job: Any) -> str:
    done = size_text(job["bytes_done"])
    if job["bytes_total"] is None or job["state"] in _ENDED:
        return done
    percent = 100 * job["bytes_done"] // (job["bytes_total"] or 1)
    return f"{percent}% of {size_text(job['bytes_total'])}"


def _rate(job: Any) -> str:
    limit = f" (limit {size_text(job['limit'])}/s)" if job["limit"] is not None and job["state"] not in _ENDED else ""
    return f"{size_text(job['rate'])}/s{limit}" if job["state"] == "running" else limit.strip()


def _state_text(job: Any) -> str:
    who = f" by {job['ended_by']}" if job["ended_by"] else f" ({job['reason']})" if job["reason"] else ""
    return f"{job['state']}{who}"


class Output:
    """Prints as JSON lines (`as_json`), or for people: with bars and tables if standard output is a terminal."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._tty = self._out.is_terminal and not as_json

    def say(self, text: str, **facts: Any) -> None:
        """Print that something was done: `facts` as JSON, or `text` for people."""
        print(json.dumps(facts) if self._json else text, flush=True)

    def complain(self, text: str, **facts: Any) -> None:
        """Print an error on standard error; as JSON lines also on standard output."""
        print(f"headgate: {text}", file=sys.stderr, flush=True)
        if self._json:
            print(json.dumps(facts | {"error": text}), flush=True)

    @contextmanager
    def bar(self, title: str) -> Iterator[Bar]:
        """A context with the progress bar of a transfer, on standard error if that is a terminal."""
        if not self._err.is_terminal or self._json:
            yield _SilentBar()
            return
        columns = (BarColumn(), _Percent(), _Amount(), _Rate(), _Left())
        with Progress(TextColumn("{task.description}", markup=False), *columns, console=self._err) as progress:
            bar = _RichBar(progress, title)
            try:
                yield bar
            except BaseException:
                bar.failed()
                raise

    def jobs(self, jobs: list[Any]) -> None:
        """Print `jobs` once."""
        if self._tty:
            self._out.print(self._table(jobs))
        else:
            for job in jobs:
                self._line(job)

    def files(self, files: list[Any]) -> None:
        """Print a listing of `files`."""
        if self._tty:
            table = Table(box=None, pad_edge=False)
            for heading, align in (("NAME", "left"), ("SIZE", "right"), ("MODIFIED", "left")):
                table.add_column(heading, justify="right" if align == "right" else "left")
            for file in files:
                size = "generated" if file["generated"] else size_text(file["size"])
                table.add_row(Text(file["name"]), size, file["modified_at"] or "")
            self._out.print(table)
            return
        for file in files:
            size = "-" if file["size"] is None else file["size"]
            self.say(f"{file['name']}\t{size}\t{file['modified_at'] or '-'}", **file)

    @contextmanager
    def watch(self) -> Iterator["_Watch"]:
        """A context with a display of jobs that is kept up to date."""
        if not self._tty:
            yield _ProgressLines(self._line)
            return
        with Live(console=self._out, refresh_per_second=4) as live:
            yield _LiveTable(live, self._table)

    def _line(self, job: Any) -> None:
        parts = (short(job["id"]), job["kind"], _names(job), _state_text(job), _progress(job), _rate(job))
        self.say("  ".join(part for part in parts if part), **job)

    @staticmethod
    def _table(jobs: list[Any]) -> Table:
        table = Table(box=None, pad_edge=False)
        for heading in ("ID", "KIND", "OWNER", "NAME", "STATE", "PROGRESS", "RATE", "LEFT"):
            table.add_column(heading, no_wrap=heading == "ID")
        for job in jobs:
            table.add_row(
                short(job["id"]),
                job["kind"],
                Text(job["owner"]),
                Text(_names(job)),
                Text(_state_text(job), style=_COLOURS.get(job["state"], "")),
                _progress(job),
                _rate(job),
                "" if job["eta"] is None or job["state"] != "running" else f"{job['eta']} s",
            )
        return table


class _Watch:
    """A display of jobs, by the events of ``GET /jobs/events``."""

    def __init__(self) -> None:
        self._jobs: dict[str, Any] = {}
        #: Has there been a snapshot yet?
        self.has_begun = False

    def take(self, kind: str, jobs: list[Any]) -> None:
        if kind == "snapshot":
            self._jobs = {}
            self.has_begun = True
            jobs.reverse()  # oldest first
        for job in jobs:
            before = self._jobs.get(job["id"])
            self._jobs[job["id"]] = job
            self.changed(job, before)
        ended = [id_ for id_, job in self._jobs.items() if job["state"] in _ENDED]
        for id_ in ended[:-ENDED_SHOWN]:
            del self._jobs[id_]
        self.settled()

    def changed(self, job: Any, before: Any) -> None:
        """Called for each job of an event; `before`: the same job earlier, None for a new one."""

    def settled(self) -> None:
        """Called when all jobs of an event have been stored."""


class _LiveTable(_Watch):
    def __init__(self, live: Live, table: Any) -> None:
        super().__init__()
        self._live = live
        self._table = table

    def settled(self) -> None:
        jobs = list(self._jobs.values())[::-1]
        live = [job for job in jobs if job["state"] not in _ENDED]
        ended = sorted((job for job in jobs if job["state"] in _ENDED), key=lambda job: job["ended_at"], reverse=True)
        self._live.update(self._table(live + ended[:ENDED_SHOWN]))


class _ProgressLines(_Watch):
    def __init__(self, line: Any) -> None:
        super().__init__()
        self._line = line
        self._said: dict[str, float] = {}

    def changed(self, job: Any, before: Any) -> None:
        now = time.monotonic()
        another = before is None or (before["state"], before["limit"]) != (job["state"], job["limit"])
        if another or now - self._said.get(job["id"], 0) >= LINE_INTERVAL_SECONDS:
            self._said[job["id"]] = now
            self._line(job)
        if job["state"] in _ENDED:
            self._said.pop(job["id"], None)


class _Percent(ProgressColumn):
    """The percentage that has moved, if the size is known."""

    def render(self, task: Task) -> Text:
        return Text("" if not task.total else f"{100 * task.completed / task.total:3.0f}%")


class _Amount(ProgressColumn):
    """The bytes that have moved, and the size if it is known."""

    def render(self, task: Task) -> Text:
        done = size_text(task.completed)
        return Text(done if task.total is None else f"{done}/{size_text(task.total)}")


class _Rate(ProgressColumn):
    """Bytes per second, while the job runs."""

    def render(self, task: Task) -> Text:
        moves = task.fields["state"] == "running" and task.speed
        return Text(f"{size_text(task.speed or 0)}/s" if moves else "")


class _Left(ProgressColumn):
    """The time that is left, if it can be estimated."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        told = task.fields["state"] == "running" and left is not None and task.completed
        return Text("" if not told or left is None else f"{left // 60:.0f}:{left % 60:02.0f} left")


class _RichBar:
    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._title = title
        self._task = progress.add_task(title, total=None, state="running")

    def moved(self, done: int, total: int | None) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def says(self, state: str) -> None:
        noted = f" [{state}]" if state not in ("running", "finishing", "completed") else ""
        self._progress.update(self._task, description=self._title + noted, state=state)

    def failed(self) -> None:
        """Show that the transfer failed; the bytes that were sent do not count."""
        self._progress.update(self._task, completed=0, description=f"{self._title} [failed]", state="failed")
        self._progress.refresh()

    def note(self, text: str) -> None:
        self._progress.console.print(text, markup=False)


class _SilentBar:
    """The bar where standard error is no terminal: only its notes are printed."""

    def moved(self, done: int, total: int | None) -> None:
        pass

    def says(self, state: str) -> None:
        pass

    def note(self, text: str) -> None:
        print(f"headgate: {text}", file=sys.stderr, flush=True)
