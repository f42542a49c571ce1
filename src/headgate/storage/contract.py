"""What headgate asks of a storage, and what a storage promises in return. Storages know nothing of HTTP, jobs or users.

The contract fits a local directory and an object store alike: bytes are appended in order, nothing published is
renamed, and no path leaves the storage. Of an unfinished file a storage only recomputes digests, and takes back the end
of what it appended last (`PartialFile`). `tests/storage/test_contract.py` and `test_contract_partials.py` run on every
storage that `tests/storages.py` lists.

Rules of the contract:

- Names were checked by `check_name` before a storage gets them.
- A storage translates what its backend raises, once, to the errors that each method names, all of `headgate.errors`:
  StorageFailed where no other fits.
- Conditions and records are values: a storage calls nothing back.
- What a storage holds locks for is its own affair. Which request may add to an upload is decided by
  `UploadLockManager`.
- What a stage or a partial file was promised of a quota is free again when it has ended.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from types import TracebackType
from typing import BinaryIO, Protocol, Self
from uuid import UUID

from headgate.config import OnConflict
from headgate.lowlevel.page_memory import Data
from headgate.storage.entry import (
    NO_PRECONDITION,
    Capabilities,
    Cursor,
    Entry,
    ExpectedSize,
    Precondition,
    Published,
    SortKey,
)

__all__ = ["PartialFile", "Source", "Stage", "StagedFile", "Storage"]


class StagedFile(Protocol):
    """One staged file: received bytes that are not yet visible. Belongs to its stage, and ends with it."""

    @property
    def name(self) -> str:
        """The name that the file is meant to have."""

    @property
    def size(self) -> int:
        """Bytes written."""

    async def write(self, data: Data) -> None:
        """Append all of `data`. Raises QuotaExceeded, StorageFull or StorageFailed. May be cancelled; the stage is then
        discarded soon.

        The memory of a memoryview must stay as it is until the next `write`, or `flush`, has returned: the disk may
        still be taking from it, and what then goes wrong is raised there. Must not block the loop. The hot path: one
        call a chunk.
        """

    async def flush(self) -> None:
        """Return when the storage takes no more bytes from the caller's memory. Raises what `write` does."""


class Stage(Protocol):
    """The staged files of one job. Ends in exactly one of published and discarded.

    An async context manager. Entering reserves what the stage is expected to take (see ``Storage.stage``). Leaving
    discards what was not published, and runs to its end even if the caller is cancelled, so that a job has nothing left
    when it ends (G1); freeing the blocks may go on elsewhere.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    async def reserve(self, expected: ExpectedSize) -> None:
        """Have ``expected.most`` bytes promised beyond those written, or as many as there are if those are at least
        ``expected.least``.

        What was promised before and exceeds that is given back. Without a promise, writing asks for one itself. Raises
        QuotaExceeded or StorageFull, and then what was promised before stands.
        """

    async def create(self, name: str, on_conflict: OnConflict) -> StagedFile:
        """Begin a file that is meant to be called `name`.

        Raises NameTaken at once, unless `on_conflict` is RENAME, if an earlier file of this stage has the name, and, if
        it is REJECT, if a published file has it (a storage may leave this one to `publish`). If it is cancelled,
        nothing is left that leaving the stage does not remove.
        """

    async def sync(self, *, required: bool = True) -> None:
        """Make every byte written so far durable. May be cancelled. If not `required`, a storage may leave that to
        `publish` where it is done quickly: `publish` cannot be cancelled."""

    async def publish(
        self, on_conflict: OnConflict, precondition: Precondition = NO_PRECONDITION
    ) -> Sequence[Published]:
        """Make every file visible under its name, at once and whole, all of them or none, and durably so (G3).

        Called once, after `sync`. Returns what was published, in the order of creation: under other names than asked
        for only if `on_conflict` is RENAME. `precondition` is checked for each name just before the file takes it, so
        that nothing comes between. Raises NameTaken, PreconditionFailed, StorageFull or StorageFailed, and then nothing
        is visible that was not before. Once begun it runs to its end even if the caller is cancelled, and its outcome
        is returned or raised.
        """


class PartialFile(Protocol):
    """The bytes of one resumable upload, which outlive its requests and the process, and a record beside them.

    An async context manager: inside, the file can be written to, by a caller that holds the upload's lock (see
    `UploadLockManager`). Leaving it keeps what the file has. Entering reads size and record anew, since another process
    may have changed them, and drops a chunk that was begun and never confirmed. Raises UploadGone if the bytes are
    gone, StorageFailed.
    """

    @property
    def id(self) -> UUID:
        """Under which it was created."""

    @property
    def owner(self) -> str:
        """Whose quota counts it."""

    @property
    def record(self) -> str:
        """What its creator knows of it: a small text, without a meaning to the storage."""

    @property
    def size(self) -> int | None:
        """Bytes that it has; None if it has none any more, because it was published or they were deleted."""

    @property
    def changed_at(self) -> float:
        """When a byte last came, or, without bytes, when the record was last replaced: seconds since the epoch."""

    @property
    def published(self) -> Published | None:
        """What the file was published as; None if it was not."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    # Inside its context.

    async def reserve(self, expected: ExpectedSize) -> None:
        """As ``Stage.reserve``. What was promised and did not come is free again when the context is left."""

    async def write(self, data: Data) -> None:
        """As ``StagedFile.write``; each other method here that comes after it waits as ``StagedFile.flush`` does."""

    async def wait_for_writes(self) -> None:
        """Wait for what a cancelled write has begun; `size` tells afterwards what came of it."""

    async def begin_chunk(self) -> None:
        """Let the bytes that are written from now on count only once `confirm_chunk` was called: they are to be held
        against a checksum first."""

    async def confirm_chunk(self) -> None:
        """Let the bytes that came since `begin_chunk` count."""

    async def roll_back(self) -> None:
        """Drop the bytes that came since `begin_chunk`; without it, those that came since the file was entered. Where
        this process is killed before it could drop a chunk, the next one that enters the file does."""

    async def clear(self) -> None:
        """Drop all bytes."""

    async def append(self, other: Self) -> None:
        """Append all bytes of `other`, without this process reading them. May be cancelled, between two pieces. Offered
        where the storage has the capability `concatenation`. Raises UploadGone if `other` has none."""

    async def digests(self, algorithms: Collection[str]) -> dict[str, bytes]:
        """The digests of all bytes, by `algorithms` of hashlib. May be cancelled. Raises StorageFailed."""

    async def sync(self) -> None:
        """Make every byte written so far durable. May be cancelled."""

    async def publish(
        self, name: str, on_conflict: OnConflict, record: str, precondition: Precondition = NO_PRECONDITION
    ) -> Published:
        """Publish the file as `name`, as ``Stage.publish`` does, and replace its record by `record`; the storage keeps
        what it was published as beside that (`published`), also if the process is killed in between."""

    # At any time.

    async def refresh(self) -> None:
        """Read size, record and `changed_at` anew, without entering the file. Raises UploadGone if the bytes are gone
        (the record has been read then, if it is there), StorageFailed."""

    async def update_record(self, record: str, *, durably: bool = True) -> None:
        """Replace the record, at once and whole. Runs to its end even if the caller is cancelled. Raises StorageFull,
        StorageFailed."""

    async def touch(self) -> None:
        """Set `changed_at` to now: the upload is waited for, though no byte came."""

    async def delete_bytes(self) -> None:
        """Remove the bytes; the record stays. Runs to its end even if the caller is cancelled."""

    async def discard(self) -> None:
        """Remove the bytes and the record. Runs to its end even if the caller is cancelled."""

    def release(self) -> None:
        """This process has no more to do with the file. What there is stays, and counts for no promise of this one."""


class Source(Protocol):
    """A published file, opened for reading; it keeps its content though the name be replaced or deleted meanwhile.

    An async context manager: leaving it closes the file.
    """

    @property
    def entry(self) -> Entry:
        """The file's name, size and validators."""

    @property
    def size(self) -> int: ...

    @property
    def file(self) -> BinaryIO | None:
        """A file of the operating system, for sendfile; None where there is none. Only its descriptor may be used."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    async def ready(self, offset: int, size: int) -> None:
        """Return when the `size` bytes of `file` from `offset` can be read without waiting for the disk (G7)."""

    async def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer only where the file ends. Raises StorageFailed."""

    def stream(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, piece by piece. Raises StorageFailed, also where the file
        is shorter. Close it (``contextlib.aclosing``) to end it early."""


class Storage(Protocol):
    """Where files live."""

    @property
    def capabilities(self) -> Capabilities:
        """What this storage can do of that which not every storage can."""

    async def start(self) -> None:
        """Get ready, and remove what a killed process left staged; what living processes have staged stays. Raises
        StorageUnusable, with the reason, if the contract could not be kept here."""

    async def close(self) -> None:
        """Finish what still goes on, and let go of everything. Called when every job has ended."""

    async def check(self) -> None:
        """Raise StorageFull or StorageFailed, with the reason as its cause, if an upload could not be taken now."""

    def stage(self, job: UUID, owner: str, expected: ExpectedSize | None = None) -> Stage:
        """A place for the staged files of `job`, which will be `owner`'s. `expected`: bytes of all of them, which are
        reserved on entering; None where that is unknown. Entering raises QuotaExceeded or StorageFull."""

    async def create_partial(self, id: UUID, owner: str, record: str) -> PartialFile:  # noqa: A002 - what it is
        """A new partial file of `owner`. It stays until it is published or discarded, or was not written to for long.

        Durable when this returns. Raises JobIdTaken if there is one by that `id`, QuotaExceeded, StorageFull,
        StorageFailed, Busy.
        """

    async def find_partial(self, id: UUID) -> PartialFile | None:  # noqa: A002 - what it is
        """The partial file `id`, whichever process created it; also one without bytes, whose record is left. Raises
        StorageFailed."""

    async def list_partials(self) -> Sequence[UUID]:
        """The ids of all partial files that have bytes. Raises StorageFailed."""

    async def open(self, name: str) -> Source:
        """Open the published file `name`. Raises FileNotFound, Unreadable, StorageFailed, Busy."""

    async def stat(self, name: str) -> Entry | None:
        """The published file that has `name` now; None if none has. Raises StorageFailed."""

    async def list(
        self, after: Cursor | None, limit: int, sort_key: SortKey = SortKey.NAME, *, descending: bool = False
    ) -> Sequence[Entry]:
        """Up to `limit` published files by `sort_key`, from the first that comes after the place `after`. Only what
        `capabilities` names is asked for. Raises StorageFailed."""

    async def delete(self, name: str, precondition: Precondition = NO_PRECONDITION) -> None:
        """Remove the published file `name`, durably, if `precondition` holds. Open sources keep it.

        Raises FileNotFound, PreconditionFailed, StorageFailed. Once begun it runs to its end even if the caller is
        cancelled, and its outcome is returned or raised.
        """
