"""The tree of errors is what its docstring draws, and its codes are stable and unique."""

import re

import headgate.errors
from headgate.errors import HeadgateError, StorageFull, Terminated


def every(cls=HeadgateError):
    for child in cls.__subclasses__():
        yield child
        yield from every(child)


def test_the_docstring_draws_the_tree():
    """Every error stands in the drawing, with its status and code; and nothing else does."""
    drawn = dict(re.findall(r"── (\w+) +(.+)", headgate.errors.__doc__))
    errors = {error.__name__: error for error in every()}
    assert set(drawn) == set(errors)
    for name, said in drawn.items():
        if match := re.match(r"(\d{3}) ([a-z-]+)", said):
            assert (errors[name].status, errors[name].code) == (int(match[1]), match[2])


def test_the_door_lists_every_error():
    assert set(headgate.errors.__all__) == {"HeadgateError"} | {error.__name__ for error in every()}


def test_codes_are_unique():
    """Clients switch on the code; two errors that a client can meet never share one."""
    codes = [error.code for error in every() if not error.__subclasses__()]
    assert len(codes) == len(set(codes))


def test_an_error_reads_as_its_detail_or_its_title():
    assert str(StorageFull()) == StorageFull.title
    assert str(StorageFull("no room")) == "no room"
    assert "alice" in str(Terminated("alice"))
