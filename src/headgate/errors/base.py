"""The root of the tree of errors, and the errors that are raised at start and never sent."""

from collections.abc import Mapping

__all__ = ["ConfigError", "HeadgateError", "StorageUnusable"]


class HeadgateError(Exception):
    """The root of the tree. ``str(error)`` is its detail, or its title if it has none."""

    code: str = "internal-error"
    #: Its HTTP status. A handler may set another one on an error, where a protocol's clients would misread the usual
    #: one.
    status: int = 500
    title: str = "The server failed"

    #: Seconds after which the same request may succeed (Retry-After; RFC 9110, 10.2.3); None where waiting is useless.
    retry_after: int | None = None

    #: Its problem type (RFC 9457, 3.1.1), if one is registered; else it is made from the code.
    type: str | None = None

    #: Further members of the problem (RFC 9457, 3.2).
    members: Mapping[str, object] = {}

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail


class ConfigError(HeadgateError):
    """A setting, a file that a setting names, or an argument of `create_app` is not allowed. Raised at start."""

    code, title = "bad-config", "The configuration is not valid"


class StorageUnusable(HeadgateError):
    """The storage cannot be used at all, or cannot keep the guarantees. Raised at start."""

    code, title = "storage-unusable", "The storage cannot keep headgate's guarantees"
