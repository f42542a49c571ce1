"""The headers of "Resumable Uploads for HTTP" (draft-ietf-httpbis-resumable-upload). Values in, values out; no I/O.

The draft has changed on its way; a client says by an interop version which of its iterations it speaks. What differs
between them is here, and nowhere else:

- 3 (draft -01) says ``Upload-Incomplete``, the opposite of ``Upload-Complete``, and may leave it out at the end.
- 3 and 5 (-03) append content of any type; later ones ``application/partial-upload``.
- Up to 6 (-05), a request that appends without completing is answered 201; later ones, 204.
- 6 calls the lifetime ``expires``, later ones ``max-age``; earlier ones have no limits.

Rules of this room:

- A structured field that does not parse counts as absent (section 4.1).
"""

from collections.abc import Mapping

from headgate.wire.structured_fields import parse_boolean, parse_integer

__all__ = ["CONTENT_TYPE", "FIELDS", "LATEST", "VERSIONS", "Dialect", "format_limits"]

CONTENT_TYPE = "application/partial-upload"

#: The fields that a client may send. None of them is a list: one that comes twice does not parse.
FIELDS = ("Upload-Complete", "Upload-Incomplete", "Upload-Length", "Upload-Offset", "Upload-Draft-Interop-Version")

#: The interop versions that are known, and the one whose rules hold where a client names none.
VERSIONS = (3, 5, 6, 8, 9)
LATEST = 9


class Dialect:
    """The draft as the client of a request with `headers` speaks it. `served`: the interop versions that are
    offered."""

    def __init__(self, headers: Mapping[str, str], served: frozenset[int]) -> None:
        named = parse_integer(headers.get("Upload-Draft-Interop-Version"))
        #: The interop version that the client named, if it is offered: only then 104 responses may be sent.
        self.version = named if named in served else None
        self._as = self.version or LATEST
        self._headers = headers

    @property
    def complete(self) -> bool | None:
        """Does the request say that its content is the last? None if it does not say; in version 3 that is a yes."""
        if self._as == 3:
            return not parse_boolean(self._headers.get("Upload-Incomplete"))
        return parse_boolean(self._headers.get("Upload-Complete"))

    def completeness(self, complete: bool) -> dict[str, str]:
        """The header that says whether the upload is complete."""
        return (
            {"Upload-Incomplete": _boolean(not complete)} if self._as == 3 else {"Upload-Complete": _boolean(complete)}
        )

    @property
    def length(self) -> int | None:
        """``Upload-Length``: bytes in all, if the request tells."""
        return parse_integer(self._headers.get("Upload-Length"))

    @property
    def offset(self) -> int | None:
        """``Upload-Offset``: bytes; None if there is no such field that can be read."""
        return parse_integer(self._headers.get("Upload-Offset"))

    @property
    def needs_type(self) -> bool:
        """True if appended content has to be an ``application/partial-upload``."""
        return self._as > 5

    @property
    def appended(self) -> int:
        """The status of an append that does not complete."""
        return 204 if self._as > 6 else 201

    @property
    def completes_by_length(self) -> bool:
        """True if an upload is complete when it has its length, though no request said so.

        By the draft never. But what is left of the early versions in the field (tus-js-client) leaves the last
        ``Upload-Complete: ?1`` out: its empty files, and streams that it resumes.
        """
        return self._as <= 6

    @property
    def last(self) -> bool | None:
        """True if the content of the request is the last; None: if it reaches the length."""
        return None if self.completes_by_length and not self.complete else bool(self.complete)

    @property
    def has_limits(self) -> bool:
        """True if responses carry ``Upload-Limit``."""
        return self._as > 5

    @property
    def lifetime(self) -> str:
        """The name of the limit of an upload's lifetime."""
        return "expires" if self._as == 6 else "max-age"


def format_limits(limits: Mapping[str, int]) -> str:
    """``Upload-Limit``, a dictionary of Integers."""
    return ", ".join(f"{key}={value}" for key, value in limits.items())


def _boolean(value: bool) -> str:
    return "?1" if value else "?0"
