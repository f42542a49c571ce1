"""HTTP-dates (RFC 9110, 5.6.7), in their three forms and no other. A header with a malformed date is ignored."""

import re
from datetime import UTC, datetime, timedelta

__all__ = ["parse_date"]

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {month: number for number, month in enumerate(_NAMES, 1)}
_MONTH = "(?P<month>" + "|".join(_MONTHS) + ")"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_SHORT = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"

_FORMS = (
    re.compile(rf"{_SHORT}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT", re.ASCII),  # IMF-fixdate
    re.compile(rf"{_LONG}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT", re.ASCII),  # rfc850-date
    re.compile(rf"{_SHORT} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})", re.ASCII),  # asctime-date
)

#: Years by which a year of two digits may lie in the future; with more it is one of the last century (5.6.7).
_MAX_YEARS_AHEAD = 50


def parse_date(text: str | None) -> datetime | None:
    """The time that `text` says, in UTC; None if it is no HTTP-date, or None."""
    match = None if text is None else next((found for form in _FORMS if (found := form.fullmatch(text.strip()))), None)
    if match is None:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        this_year = datetime.now(UTC).year
        year += this_year // 100 * 100
        year -= 100 if year > this_year + _MAX_YEARS_AHEAD else 0
    second = int(match["second"])
    try:
        date = datetime(
            year,
            _MONTHS[match["month"]],
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            min(second, 59),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    if second > 60:
        return None
    return date + timedelta(seconds=1) if second == 60 else date  # a leap second
