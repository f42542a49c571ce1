"""Config: every limit has a name, a unit, and a reason for its default.

Validated once, when it is made; afterwards it is frozen and nobody checks again. Sizes are bytes, times are seconds.
"""

import re
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from headgate.errors import ConfigError

__all__ = ["Config", "OnConflict"]

KIB = 1024
MIB = 1024 * KIB
TIB = 1024 * 1024 * MIB


class OnConflict(StrEnum):
    """What becomes of an upload whose name is taken."""

    REJECT = "reject"  #: refused, 409
    RENAME = "rename"  #: published beside it, as "report (1).csv"
    REPLACE = "replace"  #: takes its place, atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How one headgate application behaves.

    Raises ConfigError when a value cannot stand.
    """

    #: Where published files live; staged ones in ``.staging`` below it. Made if only its last segment is missing.
    root: Path | str = Path("uploads")

    #: What happens when a name is taken and the request does not say. Nothing is ever lost by asking again.
    on_conflict: OnConflict = OnConflict.REJECT

    #: Bytes of one file. Above any file that people upload, so that in practice the disk decides; yet a body that never
    #: ends does end.
    max_file_size: int = TIB

    #: Bytes of all files of one request. None: as many as one file may have, so that Content-Length alone can refuse.
    max_upload_size: int | None = None

    #: File parts in one request. Each holds a file descriptor until all are published together; ten such uploads fit
    #: the common soft limit of 1,024.
    max_files: int = 100

    #: Other form fields in one request. They are options or ignored; no form that people fill in has more.
    max_fields: int = 100

    #: Bytes of one form field. The longest option is a word; 64 KiB lets a page's hidden fields pass.
    max_field_size: int = 64 * KIB

    #: Bytes of one header line of a part. What aiohttp allows a request's own header lines.
    max_part_header_size: int = 8190

    #: Header lines of one part. RFC 7578 knows three.
    max_part_headers: int = 16

    #: Bytes of a multipart body that belong to no file: other fields, boundaries, part headers, preamble, epilogue. A
    #: hundred parts with long names need a fifth of it; kept small, because Content-Length alone can refuse only what
    #: is larger than a file and this together.
    max_form_size: int = 256 * KIB

    #: Bytes of the body of a small request (``POST /export``): the longest name, escaped, needs 1.5 KiB.
    max_request_size: int = 64 * KIB

    #: Bytes that the disk keeps free: uploads are refused before they take them. Enough for a server's own logs and a
    #: file system's own needs while somebody makes room; operators whose disk is shared want more.
    min_free: int = 64 * MIB

    #: Files that the file system can still make: uploads are refused before they take the last ones. As many as a
    #: server needs to go on, where inodes are counted.
    min_free_files: int = 1000

    #: Bytes that everybody's files may have together, published and on their way. None: the disk decides.
    quota: int | None = None

    #: Bytes that one owner's files may have together, published and on their way. None: as many as `quota` leaves.
    quota_per_owner: int | None = None

    #: Live jobs in all; one more is answered 503. Each holds a socket, a descriptor or two and about 24 KiB; more than
    #: ten thousand are a flood, or work for a second machine.
    max_jobs: int = 10_000

    #: Live jobs of one owner; one more is answered 429. A script that uploads a directory in parallel has dozens; where
    #: there are no users, everybody is one.
    max_jobs_per_owner: int = 1000

    #: Bytes per second that the live jobs of one owner may move together. None: as many as come.
    owner_rate: int | None = None

    #: Bytes per second that all live jobs may move together. None: as many as come.
    total_rate: int | None = None

    #: Files that one page of ``GET /files`` has: about 100 bytes each, and a millisecond's work.
    max_files_listed: int = 1000

    #: Ranges of one request (``Range: bytes=0-9,20-29``); of more than these the whole is sent. Readers of documents
    #: ask for a handful.
    max_ranges: int = 32

    #: Watchers of events at once; one more is answered 503. Each holds a socket and some 30 KiB; a thousand people with
    #: the page open are fine, and more are a flood.
    max_watchers: int = 4000

    #: Watchers of one owner at once; one more is answered 503. A quarter of all: whoever opens more is no person.
    max_watchers_per_owner: int = 1000

    #: Connections in all; those beyond wait to be accepted. Each transfer has one, and so has each page that is open.
    #: For ``headgate serve``, which also keeps below the limit of descriptors; elsewhere the host decides.
    max_connections: int = 20_000

    #: Connections from one address; one more is closed at once. A proxy, or an office behind one address, has hundreds.
    max_connections_per_address: int = 5_000

    #: Bytes of a request's line and headers in all. Real ones have a few KiB; servers commonly take 8 to 64.
    max_head_size: int = 64 * KIB

    #: Resumable uploads of one owner that are over, and of which is still told what has become of them. About 1 KiB
    #: each, and 10 where their metadata is as long as may be; a client that asks does so at once.
    max_outcomes_per_owner: int = 1000

    #: Events that one watcher may be behind, before it is told everything anew instead of each. A few hundred bytes
    #: each, shared by all who wait for them.
    max_events_behind: int = 1000

    #: Seconds for which a client may send, or take, nothing at all. A phone that changes cells is back sooner; proxies
    #: wait as long. The time in which we make the client wait does not count, nor does a pause.
    idle_timeout: float = 60.0

    #: Bytes per second that a client must send, or take, on average over `min_rate_window`. The slowest mobile networks
    #: have ten times that; who trickles below it holds a slot and means to.
    min_rate: int = 500

    #: Seconds over which `min_rate` is measured. Longer than a mobile network's gaps.
    min_rate_window: float = 60.0

    #: Seconds in which a connection must have sent the headers of a request, counted from its beginning or from the
    #: answer before; also how long an idle connection is kept. For ``headgate serve``; elsewhere the host decides.
    header_timeout: float = 75.0

    #: Bytes read and dropped after an answer that came before the end of a body, so that a client that sends first and
    #: reads afterwards gets to reading. What a fast client has on its way until it notices.
    linger_size: int = 16 * MIB

    #: Seconds that such a connection is kept for the client to read the answer. A slow line's round trips, several.
    linger_timeout: float = 5.0

    #: Seconds that running jobs are given to end by themselves at shutdown. Supervisors commonly kill after 30.
    drain_timeout: float = 20.0

    #: Seconds between looks for what killed processes left staged, and between counts for the quotas. Cheap where there
    #: is little; nobody waits for it.
    sweep_interval: float = 300.0

    #: Seconds for which a resumable upload is kept that no byte comes for; also for which the outcome of one is told. A
    #: laptop that is closed in the evening goes on the next morning.
    upload_expiry: float = 24 * 3600.0

    #: Iterations of the IETF's draft on resumable uploads that are served, by their interop versions: all that we know.
    #: A client that speaks another one uploads without being told that it could resume.
    interop_versions: frozenset[int] = frozenset({3, 5, 6, 8, 9})

    #: Where clients find us, ``https://files.example/``, if a proxy changes the scheme or the host of requests: tus
    #: clients are told absolute URLs. None: as the request says.
    public_url: str | None = None

    #: Origins (``https://app.example``) whose pages may be clients, too. None: none but our own.
    cors_origins: frozenset[str] = frozenset()

    #: Seconds between looks at whether a transfer's client is still there and not idle. A query for nobody runs at most
    #: so much longer, on hosts that do not cancel handlers on disconnect; ten thousand looks a second are not felt.
    watch_interval: float = 1.0

    #: Seconds that a terminate call waits for the job's own code (``on_received``, a generated export) to end before it
    #: answers that the job is still ending. headgate's own parts need milliseconds.
    terminate_timeout: float = 30.0

    #: Ended jobs that ``GET /jobs`` remembers. About 1 KiB each, and 25 KiB where a job had a hundred files with the
    #: longest names; a busy team looks back hours.
    ended_jobs: int = 1000

    #: Threads for disk work that may block. More than a disk has queues for helps nobody; fewer let one slow fsync hold
    #: others up.
    storage_threads: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        try:
            object.__setattr__(self, "on_conflict", OnConflict(self.on_conflict))
        except ValueError:
            choices = ", ".join(OnConflict)
            raise ConfigError(f"on_conflict must be one of {choices}, not {self.on_conflict!r}") from None
        object.__setattr__(self, "interop_versions", frozenset(self.interop_versions))
        object.__setattr__(self, "cors_origins", frozenset(self.cors_origins))
        if not self.interop_versions <= {3, 5, 6, 8, 9}:
            raise ConfigError("interop_versions can be 3, 5, 6, 8 and 9.")
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(f"An origin is scheme://host[:port], in lower case, and not {origin!r}")
        if self.public_url is not None and not _URL.fullmatch(self.public_url):
            raise ConfigError(f"public_url must begin with http:// or https://, and {self.public_url!r} does not")
        for field in fields(self):
            if field.name in _NO_NUMBERS:
                continue
            if field.default is None or isinstance(field.default, int | float):
                self._check_number(field.name, optional=field.default is None)

    def _check_number(self, name: str, *, optional: bool) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (value > 0 or (value == 0 and name in _MAY_BE_ZERO)):
            return
        least = "0 or more" if name in _MAY_BE_ZERO else "above 0"
        raise ConfigError(f"{name} must be a number {least}{', or None' if optional else ''}, not {value!r}")

    @property
    def upload_size_limit(self) -> int:
        """Bytes that the files of one request may have together."""
        return self.max_file_size if self.max_upload_size is None else self.max_upload_size

    @property
    def body_size_limit(self) -> int:
        """Bytes that the body of one multipart request may have: its files and what holds them together."""
        return self.upload_size_limit + self.max_form_size


# RFC 6454, 6.2: an origin as browsers write it.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_URL = re.compile(r"https?://[^\s/]+(?:/\S*)?")

_NO_NUMBERS = frozenset({"public_url"})

#: Where 0 means: none of it.
_MAY_BE_ZERO = frozenset({"min_free", "min_free_files", "min_rate", "linger_size", "linger_timeout", "drain_timeout"})
