"""Conditional requests (RFC 9110, 13; section numbers are its own).

`Validators` are an entity tag and a modification time, which tell two contents of one name apart. The functions compare
the conditions in a request's headers with those of the current content: may the request go on, has the client this
content already, is a range still one of this content?

Rules of this file:

- Headers come with the lines of each field joined (`wire.fields`).
- An entity tag or a date that does not parse matches nothing; it is not an error.
"""

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

#: The header fields that hold conditions.
CONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range")

#: How old a modification time must be to be a strong validator: Last-Modified has whole seconds, and a content may be
#: replaced by another within the same second (8.8.2.2).
STRONG_TIME_AGE = timedelta(seconds=1)

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of a content: a strong entity tag (without quotes), and when it was last modified (in UTC)."""

    etag: str
    modified_at: datetime

    def headers(self) -> dict[str, str]:
        """ETag; and Last-Modified, except in the second of the modification: another one in the same second would have
        the same date (RFC 9110, 8.8.2.2)."""
        headers = {"ETag": f'"{self.etag}"'}
        now = datetime.now(UTC)
        if not now - timedelta(seconds=1) < self.modified_at <= now or self.is_time_strong:
            headers["Last-Modified"] = format_datetime(self._second, usegmt=True)
        return headers

    @property
    def is_time_strong(self) -> bool:
        """Was the content modified so long ago that no other content can have the same Last-Modified?"""
        return datetime.now(UTC).replace(microsecond=0) - self.modified_at.replace(microsecond=0) >= STRONG_TIME_AGE

    @property
    def _second(self) -> datetime:
        """The time as Last-Modified has it: a whole second, which is not in the future (8.8.2.1)."""
        return min(self.modified_at, datetime.now(UTC)).replace(microsecond=0)

    def is_newer_than(self, date: datetime) -> bool:
        """Is Last-Modified later than `date`?"""
        return self._second > date


def parse_tags(value: str) -> set[str] | None:
    """The strong entity tags of a list (8.8.3), without quotes; None for ``*``. What is no tag is skipped."""
    if value.strip() == "*":
        return None
    return {match[2] for match in _TAG.finditer(value) if not match[1]}


def parse_weak_tags(value: str) -> set[str] | None:
    """All entity tags of a list, weak ones included, without quotes; None for ``*``."""
    return None if value.strip() == "*" else {match[2] for match in _TAG.finditer(value)}


def has_preconditions(headers: Mapping[str, str]) -> bool:
    """Has a request with `headers` a condition on the current content of what it is to replace?"""
    return any(name in headers for name in ("If-Match", "If-None-Match", "If-Unmodified-Since"))


def check_preconditions(headers: Mapping[str, str], there: Validators | None) -> None:
    """Raise PreconditionFailed if `there`, the current content (None: none), does not meet the conditions of `headers`.

    They are If-Match, or without it If-Unmodified-Since (13.2.2, steps 1 and 2).
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
    """Has the client the current content already, by If-None-Match, or without it If-Modified-Since (13.2.2)?

    `dates`: False for methods that change something, to which If-Modified-Since does not apply (13.1.3).
    """
    if (none_match := headers.get("If-None-Match")) is not None:
        tags = parse_weak_tags(none_match)
        return tags is None or there.etag in tags
    date = parse_date(headers.get("If-Modified-Since")) if dates else None
    return date is not None and not there.is_newer_than(date)


def range_holds(if_range: str | None, there: Validators) -> bool:
    """Is the content of which the client wants a range the current one (13.1.5)? If not, it is sent the whole of it."""
    if if_range is None:
        return True
    if '"' in if_range:
        match = _TAG.fullmatch(if_range.strip())
        return match is not None and not match[1] and match[2] == there.etag
    return there.is_time_strong and parse_date(if_range) == there._second
