"""Conditional requests (RFC 9110, 13): may this request go on, is its answer known already, does its range hold?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from headgate.errors import PreconditionFailed
from headgate.wire.dates import parse_date

__all__ = [
    "CONDITIONS",
    "Validators",
    "check_preconditions",
    "has_preconditions",
    "is_not_modified",
    "parse_tags",
    "parse_weak_tags",
    "range_holds",
]

#: The fields that hold conditions; whoever reads them joins their lines first.
CONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range")

#: A time that is younger than this when it is told does not tell one content from another: both may have come within
#: the second that the header can say (8.8.2.2).
STRONG_AFTER = timedelta(seconds=1)

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one content from another: a strong entity tag (without quotes), and when it was last modified."""

    etag: str
    modified_at: datetime

    def headers(self) -> dict[str, str]:
        """Both; but not a time that will be strong and is not yet: a client could not tell when it was told."""
        headers = {"ETag": f'"{self.etag}"'}
        now = datetime.now(UTC)
        if not now - timedelta(seconds=1) < self.modified_at <= now or self.is_time_strong:
            headers["Last-Modified"] = format_datetime(self._second, usegmt=True)
        return headers

    @property
    def is_time_strong(self) -> bool:
        """Was the content modified so long ago that no other can have the same time?"""
        return datetime.now(UTC).replace(microsecond=0) - self.modified_at.replace(microsecond=0) >= STRONG_AFTER

    @property
    def _second(self) -> datetime:
        """What the header can say of the time: a whole second, and none that is still to come (8.8.2.1)."""
        return min(self.modified_at, datetime.now(UTC)).replace(microsecond=0)

    def is_newer_than(self, date: datetime) -> bool:
        return self._second > date


def parse_tags(value: str) -> set[str] | None:
    """The strong tags of a list of entity tags (8.8.3); None for ``*``. What is no tag matches nothing."""
    if value.strip() == "*":
        return None
    return {match[2] for match in _TAG.finditer(value) if not match[1]}


def parse_weak_tags(value: str) -> set[str] | None:
    """All tags of a list, weak ones included; None for ``*``."""
    return None if value.strip() == "*" else {match[2] for match in _TAG.finditer(value)}


def has_preconditions(headers: Mapping[str, str]) -> bool:
    """Does anything that is to be stored depend on what is there?"""
    return any(name in headers for name in ("If-Match", "If-None-Match", "If-Unmodified-Since"))


def check_preconditions(headers: Mapping[str, str], there: Validators | None) -> None:
    """If-Match, or without it If-Unmodified-Since (13.2.2, steps 1 and 2), against what is there, if anything is.

    Raises PreconditionFailed.
    """
    if (match := headers.get("If-Match")) is not None:
        tags = parse_tags(match)
        if there is None or (tags is not None and there.etag not in tags):
            raise PreconditionFailed
    elif (date := parse_date(headers.get("If-Unmodified-Since"))) is not None and (
        there is None or there.is_newer_than(date)
    ):
        raise PreconditionFailed


def is_not_modified(headers: Mapping[str, str], there: Validators, *, dates: bool = True) -> bool:
    """If-None-Match, or without it If-Modified-Since (13.2.2, steps 3 and 4): has the client what is there?

    `dates`: False for methods that change something, to which If-Modified-Since does not apply (13.1.3).
    """
    if (none_match := headers.get("If-None-Match")) is not None:
        tags = parse_weak_tags(none_match)
        return tags is None or there.etag in tags
    date = parse_date(headers.get("If-Modified-Since")) if dates else None
    return date is not None and not there.is_newer_than(date)


def range_holds(if_range: str | None, there: Validators) -> bool:
    """Is a range of what the client knows a range of what is there (13.1.5)? If not, it gets all of it."""
    if if_range is None:
        return True
    if '"' in if_range:
        match = _TAG.fullmatch(if_range.strip())
        return match is not None and not match[1] and match[2] == there.etag
    return there.is_time_strong and parse_date(if_range) == there._second
