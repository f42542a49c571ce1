"""Sizes, and the command line's own words."""

import argparse
import sys

import pytest

from headgate.cli import main
from headgate.cli.value_parsers import parse_port, parse_size
from headgate.web.middleware.tokens import Tokens


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1500", 1500),
        ("1500B", 1500),
        ("1K", 1024),
        ("1KiB", 1024),
        ("1kb", 1000),
        ("2MB", 2_000_000),
        ("20GiB", 20 * 2**30),
        ("1.5M", 3 * 2**19),
        (" 1 TiB ", 2**40),
    ],
)
def test_a_size_is_read_as_people_write_it(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1XB", "1 2", "MB", "1e3", "0.1", "9" * 400, "9000000T"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "x", "-1", "65536", "99999999999", "٣", "8 0"])
def test_what_is_no_port_is_refused(text):
    assert parse_port("0") == 0
    assert parse_port("65535") == 65535
    with pytest.raises(argparse.ArgumentTypeError):
        parse_port(text)


@pytest.mark.parametrize("flags", [[], ["--admin"]])
def test_token_prints_a_token_and_its_line(capsys, flags):
    """The token on the first line, what belongs into the tokens file on the second."""
    assert main(["token", "alice", *flags]) == 0
    token, line = capsys.readouterr().out.splitlines()
    assert Tokens(line)._users[0][1].admin == bool(flags)
    assert len(token) >= 40
    assert line.startswith("alice:")


def test_a_name_that_cannot_be_is_refused(capsys):
    assert main(["token", "a:b"]) == 2
    assert "name" in capsys.readouterr().err


def test_without_a_command_it_says_what_there_is(capsys):
    assert main([]) == 2
    said = capsys.readouterr().err
    for command in ("serve", "token", "upload", "export", "jobs", "pause", "resume", "terminate", "rate", "files"):
        assert f"  {command} " in said


def test_without_the_extra_it_says_what_to_install(capsys, monkeypatch):
    """And `serve` and `token` are there all the same: the base install has no click and no rich."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("click", "rich")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "headgate.cli.client.commands", raising=False)
    monkeypatch.delattr("headgate.cli.client.commands", raising=False)
    monkeypatch.setitem(sys.modules, "click", None)
    assert main(["token", "alice"]) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["upload", "a"])
    assert caught.value.code == 2
    assert "pip install 'headgate[cli]'" in capsys.readouterr().err
