"""The root of the tree, and what is raised at start and never sent."""

from collections.abc import Mapping

__all__ = ["ConfigError", "HeadgateError", "StorageUnusable"]


class HeadgateError(Exception):
    """The root of the tree. ``str(error)`` is its detail, or its title where there is none."""

    code: str = "internal-error"
    #: A protocol may have to say the same with another status, so that its clients take it as it is meant.
    status: int = 500
    title: str = "The server failed"

    #: Seconds after which the same request may fare better (RFC 9110, 10.2.3); None where waiting does not help.
    retry_after: int | None = None

    #: Its problem type (RFC 9457, 3.1.1), where others have defined one; ours are named by their code.
    type: str | None = None

    #: What else its problem has to say (RFC 9457, 3.2).
    members: Mapping[str, object] = {}

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail


class ConfigError(HeadgateError):
    code, title = "bad-config", "The configuration cannot stand"


class StorageUnusable(HeadgateError):
    code, title = "storage-unusable", "The storage cannot keep headgate's guarantees"
