"""Header fields in several lines (RFC 9110, 5.3): the lines of one field are read as one list, joined by commas.

A field that is not a list and comes twice then does not parse: the server does not choose one of two values.
"""

from collections.abc import Iterable

from multidict import MultiMapping

__all__ = ["field_value", "field_values"]


def field_value(headers: MultiMapping[str], name: str) -> str | None:
    """The lines of the field `name`, joined; None without any."""
    return ", ".join(headers.getall(name)) if name in headers else None


def field_values(headers: MultiMapping[str], names: Iterable[str]) -> dict[str, str]:
    """The fields among `names` that `headers` have, each with its lines joined."""
    return {name: ", ".join(headers.getall(name)) for name in names if name in headers}
