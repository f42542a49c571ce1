"""The body of an upload as a sequence of files: what `receive` reads from.

`FormSource` is a form with files, `RawSource` a body that is one file.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Protocol

from headgate.config import OnConflict
from headgate.errors import InvalidOption
from headgate.lowlevel.page_memory import Data
from headgate.storage import ExpectedSize
from headgate.transfer.watchdog import ClientWait

__all__ = ["BodySource", "IncomingFile", "parse_on_conflict"]


class IncomingFile(Protocol):
    """One file of a request's body."""

    @property
    def filename(self) -> str:
        """The name that the client gave it, unchecked."""

    @property
    def read(self) -> Callable[[], Awaitable[Data]]:
        """Returns the next bytes, as many as have arrived; empty at the end.

        A memoryview that it returns is valid until the next read but one begins. Raises MalformedBody, TooLarge or
        JobStopped errors of the body, and DigestMismatch at the end.
        """

    @property
    def digests(self) -> Mapping[str, bytes]:
        """The digest that the client asked for, by its algorithm; known when the file has been read to its end."""


class BodySource(Protocol):
    """The body of a request as files. It must be closed."""

    @property
    def expected(self) -> ExpectedSize | None:
        """Bytes of files that are still to come; None for a chunked body."""

    @property
    def on_conflict(self) -> OnConflict | None:
        """What happens if a name is taken, if the body has said so until now; else None. Raises InvalidOption."""

    @property
    def consumed(self) -> int:
        """Bytes of the body that were taken in."""

    @property
    def waited(self) -> ClientWait:
        """How long the server has been waiting for the client."""

    def files(self) -> AsyncGenerator[IncomingFile, None]:
        """The files, once; each must be read to its end before the next is asked for.

        Ends when the whole body has been read. Raises what is wrong with the body.
        """

    def close(self) -> None:
        """Nothing more is read of the body."""


def parse_on_conflict(text: str) -> OnConflict:
    """The OnConflict that a client wrote as `text`. Raises InvalidOption."""
    try:
        return OnConflict(text)
    except ValueError:
        raise InvalidOption(f"on_conflict must be one of {', '.join(OnConflict)}.") from None
