"""No header costs more than its length: eight times as many bytes take about eight times as long, whatever they are.

Every function of ``headgate.wire`` that is given what a client sent is found and measured, on values that begin as it
likes, go on with one thing again and again, and end in what fits or does not. The same over HTTP, headers, parts,
queries and paths: ``tests/web/test_linear.py``.
"""

import importlib
import inspect
import itertools
import pkgutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import pytest
from multidict import CIMultiDict

from headgate import wire
from headgate.errors import HeadgateError
from headgate.wire.conditions import Validators

#: It measures times.
pytestmark = pytest.mark.alone

SHORT, LONG = 8 * 1024, 64 * 1024

#: Eight is linear, 64 quadratic; between them lies what caches and a noisy machine do to it.
RATIO = 20

#: Seconds: less is nobody's stall, and too little to be measured. More for the short one is too much in any case.
NOTHING, FAR_TOO_LONG = 0.002, 0.050

#: What values begin with, by the module that reads them.
BEGINNINGS = {
    "conditions": ('"', 'W/"', '"a", ', "*", "Wed, 08 Jul 2026 00:00:00 GMT"),
    "dates": ("Wed, ", "Wed, 08 Jul ", "Wed, 08 Jul 2026 00:00:00 ", "Wednesday, 08-Jul-", "Wed Jul  8 "),
    "digest_fields": ("sha-256=:", "sha-256=::", "sha-256=1", "sha-256=1;a=", "sha-256=1;"),
    "ietf": ("?1", "?1;a=", "1", "1;a="),
    "parameters": ("a/b", 'a;b="', "a;b=", "a;b*=utf-8''", "a; b=c"),
    "ranges": ("bytes=", "bytes=0-", "bytes"),
    "structured_fields": ("?1", "?1;a", "?1;a=", '?1;a="', "1", "1;a=", "-", "a=", 'a="', "a=:"),
    "tus": ("partial", "final;", "final;http://h/", "sha1 ", "a ", "1"),
}

#: What they go on with; # is a number, another one each time.
FILLERS = (
    *(
        " ",
        "\t",
        ";",
        "; ",
        " ;",
        ";a",
        ";a=",
        ";a=b",
        '; a="b"',
        ";a#=b",
        "=",
        ",",
        ", ",
        " ,",
        "a,",
        "k#,",
        "k# YQ==,",
    ),
    *('"', '""', '"a",', 'W/"a"', "W/", "\\", '\\"', "\\\\", "'", "''", "%", "%41", "%ff", "=:", ":", "::", ":YQ==:"),
    *(
        "0",
        "1",
        "9-",
        "#-#,",
        "-",
        "--",
        "a",
        "A",
        "aa=:",
        "a=1,",
        "/",
        "/a",
        "//",
        "?",
        "(",
        "(a)",
        "é",
        "\x00",
        ".",
        "a ",
    ),
)

#: The last fits nowhere: what has matched so far was in vain.
ENDS = (",", "\n")

#: What goes out; their names have 255 bytes at most.
WRITERS = ("attachment", "field_value", "field_values")

#: How what is given besides the value is filled in, by the names of parameters.
GIVEN: dict[str, Any] = {
    "there": Validators("a", datetime(2026, 7, 8, tzinfo=UTC)),
    "served": frozenset({3, 5, 6, 8, 9}),
    "size": 1_000_000,
    "most": 32,
}


class Fields(CIMultiDict[str]):
    """Headers of which each there is has the same value."""

    def __init__(self, value: str) -> None:
        super().__init__(
            (name, value)
            for name in (
                *("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"),
                *("Upload-Complete", "Upload-Incomplete", "Upload-Length", "Upload-Offset"),
                *("Upload-Draft-Interop-Version", "Content-Digest", "Repr-Digest", "Want-Repr-Digest"),
            )
        )


@cache
def filled(filler: str) -> str:
    """More of it than the longest value has."""
    return "".join(filler.replace("#", str(number)) for number in range(LONG // len(filler) + 1))


def value_of(beginning: str, filler: str, end: str, size: int) -> str:
    return beginning + filled(filler)[: size - len(beginning) - len(end)] + end


def seconds(function: Callable[[str], object], value: Callable[[int], str], size: int, *, times: int = 1) -> float:
    """How long it takes at best, each time with another value: some may be remembered."""
    best = float("inf")
    for number in range(times):
        text = value(size - number)
        began = time.perf_counter()
        with suppress(HeadgateError):
            function(text)
        best = min(best, time.perf_counter() - began)
    return best


def is_linear(function: Callable[[str], object], value: Callable[[int], str]) -> bool:
    """`value` makes one of a size. Looked at again, if it does not seem to be."""
    once = seconds(function, value, SHORT)
    if once * (LONG / SHORT) ** 2 < NOTHING:  # then the long one is nothing, even by the square
        return True
    if once > FAR_TOO_LONG and (once := seconds(function, value, SHORT, times=3)) > FAR_TOO_LONG:
        return False
    if seconds(function, value, LONG) <= max(NOTHING, RATIO / 2 * once):
        return True
    once = seconds(function, value, SHORT, times=5)
    return seconds(function, value, LONG, times=3) <= max(NOTHING, RATIO * once)


def _parsers() -> Iterator[tuple[str, str, Callable[[str], object]]]:
    """Modules, names, and each public function that is given a client's text, as a function of that text alone."""
    for module_info in pkgutil.iter_modules(wire.__path__):
        module = importlib.import_module(f"{wire.__name__}.{module_info.name}")
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if inspect.isfunction(thing) and not name.startswith("format_") and name not in WRITERS:
                yield module_info.name, name, _of_text(thing)
    from headgate.wire.ietf import Dialect

    def everything(value: str) -> None:
        dialect = Dialect(Fields(value), GIVEN["served"])
        for name, attribute in vars(Dialect).items():
            if isinstance(attribute, property):
                getattr(dialect, name)

    yield "ietf", "Dialect", everything


def _of_text(function: Callable[..., object]) -> Callable[[str], object]:
    parameters = [each for each in inspect.signature(function).parameters.values() if each.default is each.empty]
    texts = [each.name for each in parameters if each.name not in GIVEN and each.name not in ("header", "headers")]
    named = bool(texts)  # then `header` is only what the field is called

    def call(value: str) -> object:
        arguments = {}
        for each in parameters:
            if each.name in GIVEN:
                arguments[each.name] = GIVEN[each.name]
            elif each.name == "headers":
                arguments[each.name] = Fields(value)
            else:
                arguments[each.name] = "Field" if each.name == "header" and named else value
        return function(**arguments)

    return call


PARSERS = {f"{module}.{name}": (module, function) for module, name, function in _parsers()}


def test_every_module_is_measured_with_beginnings_that_it_knows():
    """One that is new is to say how its values begin, or it is measured on what it refuses at the first look."""
    assert {module for module, _ in PARSERS.values()} <= BEGINNINGS.keys()


@pytest.mark.parametrize("name", PARSERS)
def test_what_reads_a_header_takes_as_long_as_it_is_long(name):
    """Never the square of it: one request must not hold up all others."""
    module, function = PARSERS[name]
    for beginning, filler, end in itertools.product(BEGINNINGS.get(module, ("",)), FILLERS, ENDS):
        if not is_linear(function, partial(value_of, beginning, filler, end)):
            pytest.fail(f"{beginning!r}, then {filler!r} again and again, then {end!r}")


def test_what_is_quadratic_is_seen():
    """The measure would notice."""

    def quadratic(value: str) -> None:
        for number in range(0, len(value), 8):
            value[number:].count("x")

    def linear(value: str) -> None:
        value.count("x")

    assert is_linear(linear, partial(value_of, "", "a", ""))
    assert not is_linear(quadratic, partial(value_of, "", "a", ""))
