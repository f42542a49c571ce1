"""Conditional requests (RFC 9110, 13): may this request go on, is its answer known already, does its range hold?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from headgate.errors import PreconditionFailed

__all__ = ["Validators", "check_preconditions", "has_preconditions", "is_not_modified", "parse_tags", "range_holds"]

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one content from another: a strong entity tag (without quotes), and when it was last modified."""

    etag: str
    modified_at: datetime

    def headers(self) -> dict[str, str]:
        return {"ETag": f'"{self.etag}"', "Last-Modified": format_datetime(self._second, usegmt=True)}

    @property
    def _second(self) -> datetime:
        """What the header can say of the time."""
        return self.modified_at.replace(microsecond=0)

    def is_newer_than(self, date: datetime) -> bool:
        return self._second > date


def parse_tags(value: str) -> set[str] | None:
    """The strong tags of a list of entity tags (8.8.3); None for ``*``. What is no tag matches nothing."""
    if value.strip() == "*":
        return None
    return {match[2] for match in _TAG.finditer(value) if not match[1]}


def _weak_tags(value: str) -> set[str] | None:
    """All tags, weak ones included."""
    return None if value.strip() == "*" else {match[2] for match in _TAG.finditer(value)}


def _date(value: str | None) -> datetime | None:
    """A date in any of the three forms (5.6.7); None for what is none, which is to be ignored."""
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date


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
    elif (date := _date(headers.get("If-Unmodified-Since"))) is not None and (
        there is None or there.is_newer_than(date)
    ):
        raise PreconditionFailed


def is_not_modified(headers: Mapping[str, str], there: Validators, *, dates: bool = True) -> bool:
    """If-None-Match, or without it If-Modified-Since (13.2.2, steps 3 and 4): has the client what is there?

    `dates`: False for methods that change something, to which If-Modified-Since does not apply (13.1.3).
    """
    if (none_match := headers.get("If-None-Match")) is not None:
        tags = _weak_tags(none_match)
        return tags is None or there.etag in tags
    date = _date(headers.get("If-Modified-Since")) if dates else None
    return date is not None and not there.is_newer_than(date)


def range_holds(if_range: str | None, there: Validators) -> bool:
    """Is a range of what the client knows a range of what is there (13.1.5)? If not, it gets all of it."""
    if if_range is None:
        return True
    if '"' in if_range:
        match = _TAG.fullmatch(if_range.strip())
        return match is not None and not match[1] and match[2] == there.etag
    return _date(if_range) == there._second
