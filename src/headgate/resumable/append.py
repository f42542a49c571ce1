"""What a request wants to add to an upload, and how it brings it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol as Interface

from headgate.errors import InconsistentLength
from headgate.jobs import Job
from headgate.transfer.inbound.body import Body

__all__ = ["Append", "Sender"]


class Sender(Interface):
    """Whoever brings bytes: a request."""

    @property
    def length(self) -> int | None:
        """Bytes that it brings; None if it does not say."""

    def body(self, limit: int) -> Body:
        """Its bytes, of which there may be `limit`."""

    def watch(self, job: Job, body: Body) -> AbstractContextManager[object]:
        """Stops `job` if they do not come."""

    async def send_continue(self) -> None:
        """They are wanted."""

    def check(self) -> None:
        """All have come. Raises DigestMismatch or ChecksumMismatch if they are not what was meant."""

    @property
    def checked(self) -> bool:
        """Does `check` have anything to hold them against?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """What a request wants to add."""

    #: Bytes that the upload should have by now; None: those that it has.
    offset: int | None
    #: Bytes that the upload will have in all, if the request says so.
    length: int | None = None
    #: Are these the last? None: they are when the length is reached.
    last: bool | None = None
    #: Does it end the upload if more comes than may? Otherwise nothing of the request is kept.
    strict: bool = False

    def agreed(self, start: int, size: int | None, known: int | None) -> int | None:
        """Bytes of the whole, as far as they have been told: by this request, which brings `size` bytes after the first
        `start`, and as they are `known`. Raises InconsistentLength."""
        told = {known, self.length, start + size if self.last and size is not None else None} - {None}
        if len(told) > 1 or any(length is not None and length < start for length in told):
            raise InconsistentLength
        return told.pop() if told else None
