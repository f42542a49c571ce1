"""What an upload brings, whatever its body looks like: files one after the other, each read to its end.

`FormSource` takes a form apart, `RawSource` is a body that is one file. `receive` lands the files of either.
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
    """One file on its way in."""

    @property
    def filename(self) -> str:
        """The name that the client gave it, unchecked."""

    @property
    def read(self) -> Callable[[], Awaitable[Data]]:
        """Reads the next bytes, as many as came; none at the end.

        The memory of a memoryview is used again by the second read from then on. Raises what is wrong with the body,
        and DigestMismatch at the end.
        """

    @property
    def digests(self) -> Mapping[str, bytes]:
        """The digest that the client asked for, by its algorithm; known when the file has been read to its end."""


class BodySource(Protocol):
    """The body of a request as the files that it brings. Must be closed."""

    @property
    def expected(self) -> ExpectedSize | None:
        """Bytes of files that are still to come; None for a chunked body."""

    @property
    def on_conflict(self) -> OnConflict | None:
        """What is to become of a taken name, if the body says it; as far as it has been read. Raises InvalidOption."""

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
    """What a client wants to become of a taken name. Raises InvalidOption."""
    try:
        return OnConflict(text)
    except ValueError:
        raise InvalidOption(f"on_conflict must be one of {', '.join(OnConflict)}.") from None
