"""Config: every limit of one headgate application, with its unit and the reason for its default.

A `Config` is flat, so that one name means one thing on the command line, in the environment and in code; its fields
stand in groups: files and names, sizes, room on the disk, jobs and rates, listings, connections, timeouts, resumable
uploads, clients elsewhere, upkeep.

Rules of this file:

- Sizes are bytes, times are seconds, rates are bytes per second.
- Values are checked once, when the Config is made; it is frozen afterwards, and no other file checks them again.
- None means: no limit of its own, as the field says. 0 is allowed only where `_MAY_BE_ZERO` lists the field.
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

#: The interop versions of the iterations of draft-ietf-httpbis-resumable-upload that headgate implements.
_IMPLEMENTED_INTEROP_VERSIONS = frozenset({3, 5, 6, 8, 9})


class OnConflict(StrEnum):
    """What the server does with an upload whose name another published file has."""

    REJECT = "reject"  #: refuses it with 409
    RENAME = "rename"  #: publishes it beside the other, as "report (1).csv"
    REPLACE = "replace"  #: puts it in the place of the other, atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How one headgate application behaves. Raises ConfigError for a value that is not allowed."""

    # --- Files and names

    #: The directory of published files; files on their way are in ``.staging`` below it. Its last segment is created if
    #: it is missing.
    root: Path | str = Path("uploads")

    #: What happens when a name is taken and the request does not say. With REJECT no file is ever lost.
    on_conflict: OnConflict = OnConflict.REJECT

    # --- Sizes of requests

    #: Bytes of one file. Above any file that people upload, so that in practice the disk decides; yet a body that never
    #: ends does end.
    max_file_size: int = TIB

    #: Bytes of all files of one request. None: as many as one file may have, so that Content-Length alone can refuse.
    max_upload_size: int | None = None

    #: Files in one form, or in one zip. Each file of a form holds a descriptor until all are published together; ten
    #: such uploads fit the common soft limit of 1,024 descriptors.
    max_files: int = 100

    #: Form fields that are not files, in one request. No form that people fill in has more.
    max_fields: int = 100

    #: Bytes of one such field. The longest option is a word; 64 KiB lets a page's hidden fields pass.
    max_field_size: int = 64 * KIB

    #: Bytes of one header line of a part: what aiohttp allows for a header line of a request.
    max_part_header_size: int = 8190

    #: Header lines of one part. RFC 7578 knows three.
    max_part_headers: int = 16

    #: Bytes of a multipart body that belong to no file: other fields, boundaries, part headers, preamble, epilogue. A
    #: hundred parts with long names need a fifth of it. It is small because a body that is announced to be larger than
    #: a file and this together can be refused before it is sent.
    max_form_size: int = 256 * KIB

    #: Bytes of the body of a small request (``POST /export``): the longest name, escaped, needs 1.5 KiB.
    max_request_size: int = 64 * KIB

    #: Ranges of one request (``Range: bytes=0-9,20-29``); a request for more is answered with the whole file. Readers
    #: of documents ask for a handful.
    max_ranges: int = 32

    #: Bytes of the request line and all header lines. Real requests have a few KiB; servers commonly take 8 to 64.
    max_head_size: int = 64 * KIB

    # --- Room on the disk

    #: Bytes that stay free on the disk: an upload that would need them is refused before it is received. Enough for a
    #: server's own logs and a file system's own needs while an operator makes room; a shared disk wants more.
    min_free: int = 64 * MIB

    #: Files that the file system can still create (inodes): an upload that would need them is refused.
    min_free_files: int = 1000

    #: Bytes that the files of all owners may have together, published and on their way. None: the disk decides.
    quota: int | None = None

    #: Bytes that the files of one owner may have together, published and on their way. None: as many as `quota` leaves.
    quota_per_owner: int | None = None

    # --- Jobs and rates

    #: Live jobs in all; one more is answered 503. Each holds a socket, a descriptor or two and about 24 KiB; more than
    #: ten thousand are a flood, or work for a second machine.
    max_jobs: int = 10_000

    #: Live jobs of one owner; one more is answered 429. A script that uploads a directory in parallel has dozens; where
    #: there are no users, all jobs are one owner's.
    max_jobs_per_owner: int = 1000

    #: Bytes per second that the live jobs of one owner may move together. None: no limit.
    owner_rate: int | None = None

    #: Bytes per second that all live jobs may move together. None: no limit.
    total_rate: int | None = None

    #: Ended jobs that ``GET /jobs`` still shows. About 1 KiB each, and 25 KiB where a job had a hundred files with the
    #: longest names; a busy team looks back hours.
    ended_jobs: int = 1000

    #: Seconds that a terminate call waits for the job's own code (``on_received``, a generated export) to end before it
    #: answers that the job is still ending. headgate's own code needs milliseconds.
    terminate_timeout: float = 30.0

    # --- Listings and events

    #: Files on one page of ``GET /files``: about 100 bytes each, and a millisecond's work.
    max_files_listed: int = 1000

    #: Watchers of events in all; one more is answered 503. Each holds a socket and some 30 KiB; a thousand people with
    #: the page open are fine, and four thousand are a flood.
    max_watchers: int = 4000

    #: Watchers of one owner; one more is answered 503. A quarter of all: no person opens as many.
    max_watchers_per_owner: int = 1000

    #: Events that one watcher may be behind; a slower one is sent the whole state anew. A few hundred bytes each,
    #: shared by all watchers that wait for them.
    max_events_behind: int = 1000

    # --- Connections (for ``headgate serve``; in another service the host's server decides)

    #: Connections in all; those beyond wait to be accepted. Each transfer has one, and so has each page that is open.
    #: ``headgate serve`` also keeps below the limit of descriptors.
    max_connections: int = 20_000

    #: Connections from one address; one more is closed at once. A proxy, or an office behind one address, has hundreds.
    max_connections_per_address: int = 5_000

    #: Seconds in which a connection must have sent the headers of a request, counted from its beginning or from the
    #: answer before; also how long an idle connection is kept.
    header_timeout: float = 75.0

    # --- Timeouts of transfers

    #: Seconds for which a client may send, or take, no byte at all. A phone that changes cells is back sooner; proxies
    #: wait as long. The time in which the server makes the client wait does not count, nor does a pause.
    idle_timeout: float = 60.0

    #: Bytes per second that a client must send, or take, on average over `min_rate_window`. The slowest mobile networks
    #: have ten times that; a client below it holds a slot on purpose.
    min_rate: int = 500

    #: Seconds over which `min_rate` is measured. Longer than a mobile network's gaps.
    min_rate_window: float = 60.0

    #: Seconds between two checks of whether a transfer's client is connected and not idle. On hosts that do not cancel
    #: handlers on disconnect, a transfer outlives its client by at most as long; ten thousand checks a second cost
    #: little.
    watch_interval: float = 1.0

    #: Bytes read and dropped after an answer that came before the end of a body, so that a client that sends first and
    #: reads afterwards gets to reading. What a fast client has on its way until it notices.
    linger_size: int = 16 * MIB

    #: Seconds that such a connection is kept for the client to read the answer. A slow line's round trips, several.
    linger_timeout: float = 5.0

    #: Seconds that running jobs are given to end by themselves at shutdown. Supervisors commonly kill after 30.
    drain_timeout: float = 20.0

    # --- Resumable uploads

    #: Seconds for which a resumable upload without new bytes is kept, and for which its outcome is told. A laptop that
    #: is closed in the evening goes on the next morning.
    upload_expiry: float = 24 * 3600.0

    #: Ended resumable uploads of one owner whose outcome is still told. About 1 KiB each, and 10 where their metadata
    #: is as long as it may be; a client that asks does so at once.
    max_outcomes_per_owner: int = 1000

    #: Interop versions of the IETF's draft that are served; by default all that are implemented. A client with another
    #: one uploads without being told that it could resume.
    interop_versions: frozenset[int] = _IMPLEMENTED_INTEROP_VERSIONS

    # --- Clients elsewhere

    #: The URL by which clients reach the server, ``https://files.example/``, if a proxy changes the scheme or the host
    #: of requests: tus clients are told absolute URLs. None: as the request says.
    public_url: str | None = None

    #: Origins (``https://app.example``) whose pages may use the interface, besides our own page.
    cors_origins: frozenset[str] = frozenset()

    # --- Upkeep of the local storage

    #: Seconds between two runs of the sweeper, which removes what killed processes left staged, and counts for the
    #: quotas. Cheap where there is little; no request waits for it.
    sweep_interval: float = 300.0

    #: Threads for disk work that may block. More than a disk has queues for is of no use; with fewer, one slow fsync
    #: delays others.
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
        if not self.interop_versions <= _IMPLEMENTED_INTEROP_VERSIONS:
            raise ConfigError(f"interop_versions can be {', '.join(map(str, sorted(_IMPLEMENTED_INTEROP_VERSIONS)))}.")
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
        """The most bytes that the files of one request may have together."""
        return self.max_file_size if self.max_upload_size is None else self.max_upload_size

    @property
    def body_size_limit(self) -> int:
        """The most bytes that the body of one multipart request may have: its files, and what belongs to none."""
        return self.upload_size_limit + self.max_form_size


# RFC 6454, 6.2: an origin as browsers write it.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_URL = re.compile(r"https?://[^\s/]+(?:/\S*)?")

_NO_NUMBERS = frozenset({"public_url"})

#: The numbers that may be 0, which turns off what they limit.
_MAY_BE_ZERO = frozenset({"min_free", "min_free_files", "min_rate", "linger_size", "linger_timeout", "drain_timeout"})
