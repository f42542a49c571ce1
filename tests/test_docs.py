"""The documents say what is: limits with their defaults, codes with their statuses."""

import dataclasses
import re
from pathlib import Path

import pytest

import headgate.errors
from headgate.cli.server.argument_parser import LIMITS as OPTIONS
from headgate.cli.value_parsers import format_size
from headgate.config import Config
from headgate.errors import HeadgateError

DOCS = Path(__file__).parent.parent / "docs"

#: Fields of Config that are no limits.
NO_LIMITS = {"root", "on_conflict", "interop_versions", "public_url", "cors_origins"}

LIMITS = re.findall(
    r"^\| `(\w+)` \| (?:`--([\w-]+)`)? *\| ([^|]+) \|", (DOCS / "operations.md").read_text(), re.MULTILINE
)


def test_every_limit_is_told_with_its_option():
    """And no other; the options are those that there are."""
    fields = {field.name for field in dataclasses.fields(Config)}
    assert {name for name, _, _ in LIMITS} == fields - NO_LIMITS
    assert {name: option for name, option, _ in LIMITS if option} == {
        name: name.replace("_", "-") for name, _, _ in OPTIONS
    }


@pytest.mark.parametrize(("name", "told"), [(name, default) for name, _, default in LIMITS])
def test_every_default_is_told_as_it_is(name, told):
    default = getattr(Config(), name)
    if default is None:
        assert told in ("none", "as `max_file_size`")
    else:
        size = re.sub(r"(\d)([KMGT])", r"\1 \2", format_size(int(default)))
        assert told in (size, str(default), f"{default:g}")


def test_every_code_is_told_with_its_status():
    """But those that are never sent."""
    told = {
        code: set(map(int, statuses.split(", ")))
        for statuses, codes in re.findall(
            r"^\| (\d{3}(?:, \d{3})*) \| (`[^|]+`) \|", (DOCS / "api.md").read_text(), re.MULTILINE
        )
        for code in re.findall(r"`([a-z-]+)`", codes)
    }
    drawn = re.findall(r"── \w+ +(\d{3}) ([a-z-]+)$", headgate.errors.__doc__, re.MULTILINE)
    assert {code for _, code in drawn} <= told.keys()
    assert all(int(status) in told[code] for status, code in drawn)
    assert HeadgateError.code in told
