"""What headgate asks of a storage, and what it promises in return. Storages know nothing of HTTP, jobs or users.

The contract fits a local directory and an object store alike: bytes come in order, nothing is sought, nothing published
is renamed, and no path leaves this room. `tests/contract/` runs one suite on every storage.

Errors: a storage maps what its backend raises, once, to NameTaken, FileNotFound, PreconditionFailed, QuotaExceeded,
StorageFull, Busy and StorageFailed, and raises nothing else. Names were checked by `check_name` before they get here.

Quotas: a storage that has them counts what is published, whose it is, and what was promised to stages. What a stage was
promised is free again when it has ended.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import BinaryIO, Protocol, Self
from uuid import UUID

from headgate.config import OnConflict
from headgate.lowlevel.page_memory import Data
from headgate.storage.entry import Cursor, Entry, Expect, Published, SortKey, expect_anything

__all__ = ["PartialFile", "Source", "Stage", "StagedFile", "Storage"]


class StagedFile(Protocol):
    """One staged file: received bytes that are not yet visible. Belongs to its stage, and ends with it."""

    @property
    def name(self) -> str:
        """The name it is meant to have."""

    @property
    def size(self) -> int:
        """Bytes written."""

    async def write(self, data: Data) -> None:
        """Append `data`, all of it. Raises QuotaExceeded, StorageFull or StorageFailed; may be cancelled, and is then
        discarded soon.

        The memory of a memoryview must stay as it is until the next `write`, or `flush`, has returned: the disk may
        still be taking from it, and what then goes wrong is raised there. Must not block the loop. The hot path: one
        call a chunk.
        """

    async def flush(self) -> None:
        """Return when nobody takes bytes from the caller's memory any more. Raises what `write` does."""


class Stage(Protocol):
    """The staged files of one job. Ends in exactly one of published and discarded.

    An async context manager: leaving it discards whatever was not published, and runs to its end even if the caller is
    cancelled, so that a job has nothing left when it ends (G1); freeing the blocks may go on elsewhere.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    @property
    def held(self) -> bool:
        """Is what was promised so little that it is held until it is published, and need not be synced before?"""

    async def reserve(self, least: int, most: int) -> None:
        """Have `most` bytes promised beyond those written, or as many as there are if that is at least `least`.

        What was promised before and exceeds `most` is given back. Without it, writing asks for itself. Raises
        QuotaExceeded or StorageFull, and then what was promised before stands.
        """

    async def create(self, name: str, on_conflict: OnConflict) -> StagedFile:
        """Begin a file that is meant to be called `name`.

        Raises NameTaken at once if `on_conflict` is REJECT and the name is taken now (where the stage is `held`, only
        `publish` does), or, unless it is RENAME, by an earlier file of this stage. If cancelled, nothing is left that
        `__aexit__` does not know of.
        """

    async def sync(self) -> None:
        """Make every byte written so far durable. May be cancelled."""

    async def publish(self, on_conflict: OnConflict, expect: Expect = expect_anything) -> Sequence[Published]:
        """Make every file visible under its name, at once and whole, all of them or none, and durably so (G3).

        Called once, after `sync`, unless the stage is `held`. Returns what was published, in order of creation: under
        other names than asked for only under RENAME. `expect` looks at what each name has just before it is REPLACEd,
        so that nothing comes between. Raises NameTaken, PreconditionFailed, StorageFull or StorageFailed, and then
        nothing is visible that was not before. Once begun it runs to its end even if the caller is cancelled, and its
        outcome is told.
        """


class PartialFile(Protocol):
    """One file that is on its way in over many requests, and outlives them and the process: its bytes, and a record.

    An async context manager: open, it is this caller's alone, and can be written to; leaving it keeps what it has.
    Entering reads its record again, which another process may have replaced, and raises UploadLocked if one has it
    open, UploadGone if its bytes are gone, StorageFailed.
    """

    @property
    def id(self) -> UUID: ...

    @property
    def record(self) -> str:
        """What its creator knows of it. Small; text of the creator's."""

    @property
    def size(self) -> int | None:
        """Bytes that it has; None if it has none any more, because it was published or dropped."""

    @property
    def changed_at(self) -> float:
        """When a byte last came, or, without bytes, the record: seconds since the epoch."""

    @property
    def published(self) -> Entry | None:
        """What it is published as already: the process was killed before the record could say so."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    # While it is open.

    async def reserve(self, least: int, most: int) -> None:
        """As a stage's. What was promised and did not come is free again when it is left."""

    async def write(self, data: Data) -> None:
        """As a staged file's; so are all others here that come after it, in place of its `flush`."""

    async def settle(self) -> None:
        """Wait for what a cancelled write has begun; `size` tells afterwards what came of it."""

    async def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer only where the file ends. Raises StorageFailed."""

    async def cut(self, size: int) -> None:
        """Drop what comes after the first `size` bytes: it turned out not to be what its sender meant."""

    async def append(self, other: Self) -> None:
        """Append all bytes of `other`, without this process reading them. May be cancelled, between two pieces."""

    async def sync(self) -> None:
        """Make every byte written so far durable. May be cancelled."""

    async def publish(
        self,
        name: str,
        on_conflict: OnConflict,
        record: Callable[[Published], str],
        expect: Expect = expect_anything,
    ) -> Published:
        """Publish it as `name`, as a stage does, and replace its record by what `record` says then. It is closed."""

    # At any time.

    async def note(self, record: str, *, durably: bool = True) -> None:
        """Replace the record, at once and whole. Raises StorageFull, StorageFailed."""

    async def touch(self) -> None:
        """As if a byte had come just now."""

    async def drop(self) -> None:
        """Remove the bytes; the record stays. Runs to its end even if the caller is cancelled."""

    async def discard(self) -> None:
        """Remove the bytes and the record. Runs to its end even if the caller is cancelled."""

    def let_go(self) -> None:
        """This process has no more to do with it. What there is stays."""


class Source(Protocol):
    """A published file, opened for reading; it keeps its content though the name be replaced or deleted meanwhile.

    An async context manager: leaving it closes.
    """

    @property
    def entry(self) -> Entry:
        """What it is: name, bytes, validator."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def file(self) -> BinaryIO | None:
        """A real file, if there is one, for sendfile. Only its descriptor may be used."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    async def ready(self, offset: int, size: int) -> None:
        """Return when the `size` bytes of `file` from `offset` can be read without waiting for the disk (G7)."""

    async def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`; fewer only where the file ends. Raises StorageFailed."""


class Storage(Protocol):
    """Where files live."""

    async def start(self) -> None:
        """Get ready, without anything that a killed process left staged; what living ones have staged stays.

        Raises StorageUnusable, with the reason, if the contract could not be kept here.
        """

    async def close(self) -> None:
        """Every job has ended: finish what still goes on elsewhere, and let go."""

    async def check(self) -> None:
        """Could an upload be taken now? Raises StorageFull or StorageFailed, with the reason as its cause, if not."""

    def stage(self, job: UUID, owner: str) -> Stage:
        """A place for the staged files of `job`, which will be `owner`'s."""

    async def keep(self, id: UUID, owner: str, record: str) -> PartialFile:  # noqa: A002 - what it is
        """A new file that is kept until it is published or discarded, or nobody has written to it for long.

        Durable when this returns. Raises JobIdTaken if there is one by that `id`, StorageFull, StorageFailed, Busy.
        """

    async def find_partial(self, id: UUID, owner: Callable[[str], str]) -> PartialFile | None:  # noqa: A002 - what it is
        """What was kept by that `id`, in whatever process; `owner` reads in its record whose it is. Raises
        StorageFailed."""

    async def all_partials(self) -> Sequence[UUID]:
        """By which ids there are any that have bytes. Raises StorageFailed."""

    async def open(self, name: str) -> Source:
        """The published file `name`. Raises FileNotFound."""

    async def look(self, name: str) -> Entry | None:
        """What is published as `name` now, if anything is. Raises StorageFailed."""

    async def list(
        self, after: Cursor | None, most: int, order: SortKey = SortKey.NAME, *, descending: bool = False
    ) -> Sequence[Entry]:
        """Up to `most` published files in `order`, from the first that comes after the place `after`. Raises
        StorageFailed."""

    async def delete(self, name: str, expect: Expect = expect_anything) -> None:
        """Remove the published file `name`, durably, if it is as `expect` wants it. Sources that are open keep it.
        Raises FileNotFound, PreconditionFailed, StorageFailed.

        Once begun it runs to its end even if the caller is cancelled, and its outcome is told.
        """
