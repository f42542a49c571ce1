"""The headers of "Resumable Uploads for HTTP" (draft-ietf-httpbis-resumable-upload). Values in, values out; no I/O.

The draft has changed on its way; a client says by an interop version which of its iterations it speaks. What differs
between them is here, and nowhere else:

- 3 (draft -01) says ``Upload-Incomplete``, the opposite of ``Upload-Complete``, and may leave it out at the end.
- 3 and 5 (-03) append content of any type; later ones ``application/partial-upload``.
- Up to 6 (-05), a request that appends without completing is answered 201; later ones, 204.
- 6 calls the lifetime ``expires``, later ones ``max-age``; earlier ones have no limits.

Rules of this file:

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
    """The headers of one request, read as the iteration of the draft that its client speaks has them.

    `served`: the interop versions that the server offers.
    """

    def __init__(self, headers: Mapping[str, str], served: frozenset[int]) -> None:
        named = parse_integer(headers.get("Upload-Draft-Interop-Version"))
        #: The interop version that the client named, if it is offered: only then 104 responses may be sent.
        self.version = named if named in served else None
        self._as = self.version or LATEST
        self._headers = headers

    @property
    def complete(self) -> bool | None:
        """Is the content of the request the last of the upload? None if it does not say; in version 3 that is a yes."""
        if self._as == 3:
            return not parse_boolean(self._headers.get("Upload-Incomplete"))
        return parse_boolean(self._headers.get("Upload-Complete"))

    def completeness(self, complete: bool) -> dict[str, str]:
        """The header that says, in an answer, whether the upload is complete."""
        return (
            {"Upload-Incomplete": _boolean(not complete)} if self._as == 3 else {"Upload-Complete": _boolean(complete)}
        )

    @property
    def length(self) -> int | None:
        """``Upload-Length``, the bytes of the whole upload; None if it is absent or malformed."""
        return parse_integer(self._headers.get("Upload-Length"))

    @property
    def offset(self) -> int | None:
        """``Upload-Offset``, in bytes; None if it is absent or malformed."""
        return parse_integer(self._headers.get("Upload-Offset"))

    @property
    def needs_type(self) -> bool:
        """Must content that is appended have the type ``application/partial-upload``?"""
        return self._as > 5

    @property
    def appended(self) -> int:
        """The status of the answer to an append that does not complete the upload."""
        return 204 if self._as > 6 else 201

    @property
    def completes_by_length(self) -> bool:
        """Is an upload complete when it has its length, though no request said so?

        By the draft never. But tus-js-client, which speaks early versions, leaves out the last ``Upload-Complete: ?1``
        for empty files, and for streams that it resumes.
        """
        return self._as <= 6

    @property
    def last(self) -> bool | None:
        """Does the content of the request complete the upload? None: if the upload then has its length."""
        return None if self.completes_by_length and not self.complete else bool(self.complete)

    @property
    def has_limits(self) -> bool:
        """Do answers carry ``Upload-Limit``?"""
        return self._as > 5

    @property
    def lifetime(self) -> str:
        """The key in ``Upload-Limit`` of the seconds until the upload expires."""
        return "expires" if self._as == 6 else "max-age"


def format_limits(limits: Mapping[str, int]) -> str:
    """`limits` as the value of ``Upload-Limit``, a dictionary of Integers."""
    return ", ".join(f"{key}={value}" for key, value in limits.items())


def _boolean(value: bool) -> str:
    return "?1" if value else "?0"
