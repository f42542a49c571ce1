"""Header fields that come in several lines (RFC 9110, 5.3): lines of one field are one list, joined by commas.

A field that is no list, and comes twice all the same, then parses as no value of its kind: nobody picks one of the two.
"""

from collections.abc import Iterable

from multidict import MultiMapping

__all__ = ["field_value", "field_values"]


def field_value(headers: MultiMapping[str], name: str) -> str | None:
    """The value of the field `name`, all its lines; None if it did not come."""
    return ", ".join(headers.getall(name)) if name in headers else None


def field_values(headers: MultiMapping[str], names: Iterable[str]) -> dict[str, str]:
    """Those of the fields `names` that came."""
    return {name: ", ".join(headers.getall(name)) for name in names if name in headers}
