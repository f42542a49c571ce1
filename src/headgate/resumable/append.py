"""What a request wants to add to an upload (`Append`), and how it brings its bytes (`Sender`)."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol as Interface

from headgate.errors import InconsistentLength
from headgate.jobs import Job
from headgate.transfer.inbound.body import Body

__all__ = ["Append", "Sender"]


class Sender(Interface):
    """A request that brings bytes for an upload."""

    @property
    def length(self) -> int | None:
        """Bytes that the request brings; None if it does not say."""

    def body(self, limit: int) -> Body:
        """The body of the request, which may have `limit` bytes."""

    def watch(self, job: Job, body: Body) -> AbstractContextManager[object]:
        """A context in which `job` is stopped if the bytes do not come, or too slowly."""

    async def send_continue(self) -> None:
        """Tell the client to send its body, if it waits for that (100 Continue)."""

    def check(self) -> None:
        """Compare what has come with what the request said of it. Raises DigestMismatch or ChecksumMismatch."""

    @property
    def checked(self) -> bool:
        """True if the request has a digest or a checksum of its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """What a request wants to add to an upload."""

    #: Bytes that the upload has according to the client; None: as many as it has.
    offset: int | None
    #: Bytes that the upload will have in all, if the request says so.
    length: int | None = None
    #: True if these are the last bytes; None: if the length is reached.
    last: bool | None = None
    #: True if the upload ends when more comes than may; otherwise nothing of the request is kept.
    strict: bool = False

    def agreed(self, start: int, size: int | None, known: int | None) -> int | None:
        """The length of the whole, as far as it is known: from before (`known`), or from this request, which brings
        `size` bytes after the first `start`. Raises InconsistentLength."""
        lengths = {known, self.length, start + size if self.last and size is not None else None} - {None}
        if len(lengths) > 1 or any(length is not None and length < start for length in lengths):
            raise InconsistentLength
        return lengths.pop() if lengths else None
