"""Conditions (RFC 9110, 13) on every call that speaks of a file, however many lines they come on."""

import os
import time
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from multidict import CIMultiDict

from support import eventually

DATA = b"0123456789"
LATER = "2100 00:00:00"
#: In 2035.
FUTURE = 2_051_222_400


@pytest.fixture
async def there(server, root):
    """The tag of the file `f`, which is some days old."""
    (root / "f").write_bytes(DATA)
    os.utime(root / "f", (10**9, 10**9))
    return (await ask(server, "GET"))[1]["ETag"]


async def ask(server, method, *headers):
    """`method` of the file `f`; POST is an export of it. `headers` are pairs."""
    path, body = ("/export", {"json": {"filename": "f"}}) if method == "POST" else ("/files/f", {})
    if method == "PUT":
        body = {"data": b"new"}
    async with server.client.request(method, server.url + path, headers=CIMultiDict(headers), **body) as response:
        return response.status, response.headers, await response.read()


DONE = {"GET": 200, "HEAD": 200, "POST": 200, "PUT": 200, "DELETE": 204}


STOPPED = {"GET": 304, "HEAD": 304, "POST": 412, "PUT": 412, "DELETE": 412}


@pytest.mark.parametrize("method", STOPPED)
@pytest.mark.parametrize("form", ["two lines", "a list on the second line", "weak on the second line"])
async def test_a_tag_that_is_not_to_be_there_stops_every_call(server, there, method, form):
    """Wherever in the field it is, and nothing has changed."""
    values = {
        "two lines": ('"x"', there),
        "a list on the second line": ('"x", "y"', f'"z", {there}'),
        "weak on the second line": ('"x"', f"W/{there}"),
    }[form]
    assert (await ask(server, method, *(("If-None-Match", value) for value in values)))[0] == STOPPED[method]
    assert server.published() == {"f": DATA}


@pytest.mark.parametrize("value", ["*", "the tag"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_what_is_not_to_be_there_stops_a_removal_and_an_export_by_post(server, there, method, value):
    """412 (13.1.2), and the file is where it was."""
    assert (await ask(server, method, ("If-None-Match", "*" if value == "*" else there)))[0] == 412
    assert server.published() == {"f": DATA}


@pytest.mark.parametrize("method", DONE)
async def test_a_tag_that_is_to_be_there_may_be_on_any_line(server, there, method):
    """The lines of the field are one list (5.3)."""
    assert (await ask(server, method, ("If-Match", '"x"'), ("If-Match", there)))[0] == DONE[method]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_no_other_tag_on_any_line_is_no_condition(server, there, method):
    """What is not there stops nothing, and the second line of what is to be there is a condition, too."""
    none = ("If-None-Match", '"x"'), ("If-None-Match", '"y"')
    assert (await ask(server, method, ("If-Match", '"x"'), ("If-Match", there), *none))[0] == DONE[method]


async def test_a_condition_of_a_removal_is_held_when_the_name_goes(server, there):
    """Of two removals of one version, and a replacement between, none removes what it does not know."""
    assert (await ask(server, "DELETE", ("If-None-Match", there)))[0] == 412
    assert (await ask(server, "PUT"))[0] == 200
    assert (await ask(server, "DELETE", ("If-None-Match", '"x"'), ("If-None-Match", there)))[0] == 204


# Dates.


async def early_in_a_second():
    """Wait until most of a second is left; the second."""
    await eventually(lambda: time.time() % 1 < 0.4, "the beginning of a second")
    return int(time.time())


def date(second):
    return format_datetime(datetime.fromtimestamp(second, UTC), usegmt=True)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_date_that_two_versions_may_share_is_no_validator(server, root, method):
    """What has changed in this second may do so again: its date is not told, and a range of it is the whole."""
    for _ in range(9):  # a machine may be slow, and then the second is over
        (root / "f").write_bytes(b"first version")
        second = await early_in_a_second()
        os.utime(root / "f", (second, second))
        told = (await ask(server, method))[1]
        (root / "f.new").write_bytes(DATA)
        os.utime(root / "f.new", ns=(second * 10**9 + 1000,) * 2)
        (root / "f.new").rename(root / "f")
        range_ = ("Range", "bytes=5-"), ("If-Range", told.get("Last-Modified", date(second)))
        status, headers, body = await ask(server, method, *range_)
        if int(time.time()) == second:
            break
    assert (status, body) == (200, DATA)
    assert "Last-Modified" not in told
    assert "Last-Modified" not in headers
    assert headers["ETag"]


@pytest.mark.parametrize(
    ("method", "modified"),
    [
        *((method, None) for method in DONE if method != "DELETE"),
        *((method, FUTURE) for method in ("GET", "HEAD", "POST")),
    ],
)
async def test_a_date_that_is_told_is_over(server, root, method, modified):
    """Never in the future, and a second older than the answer: also of what was put just now, or is dated 2035."""
    for _ in range(3):
        (root / "f").write_bytes(DATA)
        await early_in_a_second()
        os.utime(root / "f", None if modified is None else (modified, modified))
        _, headers, _ = await ask(server, method)
        if "Last-Modified" in headers:
            age = parsedate_to_datetime(headers["Date"]) - parsedate_to_datetime(headers["Last-Modified"])
            assert age.total_seconds() >= (1 if modified is None else 0)


async def test_a_date_in_the_future_is_no_validator(server, root):
    """A range of a file that is dated 2035 is the whole, whether its date was guessed or told."""
    (root / "f").write_bytes(DATA)
    os.utime(root / "f", (FUTURE,) * 2)
    for told in (date(FUTURE), date(time.time())):
        status, _, body = await ask(server, "GET", ("Range", "bytes=5-"), ("If-Range", told))
        assert (status, body) == (200, DATA)


@pytest.mark.parametrize(
    "text",
    [
        "Wed, 08 Jul 99999999999999999999 00:00:00 GMT",
        f"Fri, 99999999999999999999 Jan {LATER} GMT",
        f"Fri, 01 Jan {LATER} +0000",
        f"Fri, 01 Jan {LATER} +99999999999999999999",
        f"Fri, 01 Jan {LATER} EST",
        f"Fri, 01 Jan {LATER} UTC",
        f"Fri, 01 Jan {LATER}",
        f"01 Jan {LATER} GMT",
        f"Fri, 01 Jan {LATER} GMT and more",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_no_date_is_ignored(server, there, method, text):
    """As if it had not been sent (13.1.3): the file comes, though it is older than what the text might mean."""
    assert (await ask(server, method, ("If-Modified-Since", text)))[0] == 200


@pytest.mark.parametrize(
    "text",
    [
        "Wed, 08 Jul 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 1990 00:00:00 +0000",
        "Mon, 01 Jan 1990 00:00:00 EST",
        "Mon, 01 Jan 1990 00:00:00",
    ],
)
@pytest.mark.parametrize("method", DONE)
async def test_what_is_no_date_stops_nothing(server, there, method, text):
    """Nor is it a condition of what changes something."""
    assert (await ask(server, method, ("If-Unmodified-Since", text)))[0] == DONE[method]


@pytest.mark.parametrize("text", [f"Fri, 01 Jan {'9' * 20} 00:00:00 GMT", "Sun, 09 Sep 2001 01:46:40 +0000"])
async def test_what_is_no_date_gets_the_whole(server, there, text):
    """Of a range that holds only if a date does."""
    status, _, body = await ask(server, "GET", ("Range", "bytes=5-"), ("If-Range", text))
    assert (status, body) == (200, DATA)
