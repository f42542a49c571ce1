"""The breaking proxy tells bodies from the rest, however what it reads was cut."""

import pytest

from proxy import Requests

SENT = (
    b"HEAD /one HTTP/1.1\r\nHost: here\r\n\r\n"
    b"PATCH /two HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789"
    b"POST /three HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab\r\nc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"
    b"POST /four HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize("piece", [1, 2, 7, 64, len(SENT)])
def test_only_bodies_count(piece):
    """Of four requests on one connection, whatever arrives at once: what has a length, and what is in chunks."""
    requests, body = Requests(), 0
    for at in range(0, len(SENT), piece):
        data = SENT[at : at + piece]
        size, counted = requests.take(data, float("inf"))
        assert size == len(data)
        body += counted
    assert body == 10 + 5 + 10
    assert requests.began == ["HEAD", "PATCH", "POST", "POST"]


@pytest.mark.parametrize("limit", [3, 10, 12, 25])
def test_a_cut_is_exact(limit):
    """What passes ends with the last byte that may."""
    size, counted = Requests().take(SENT, limit)
    assert counted == limit
    first, second, third = SENT.index(b"0123"), SENT.index(b"ab\r"), SENT.rindex(b"0123")
    assert size == {3: first + 3, 10: first + 10, 12: second + 2, 25: third + 10}[limit]
