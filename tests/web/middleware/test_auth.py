"""Tokens: who comes in, and what a tokens file may hold."""

import hashlib
import hmac

import pytest
from aiohttp.test_utils import make_mocked_request

from headgate import ConfigError, User
from headgate.errors import Forbidden
from headgate.web.middleware.auth import local_user
from headgate.web.middleware.tokens import Tokens, new_token
from support import serving


def line(user, token, flag=""):
    return f"{user}:{hashlib.sha256(token.encode()).hexdigest()}{flag}"


FILE = f"# who\n\n{line('alice', 'a-token')}\n  {line('root', 'r-token', ':admin')}  \n"


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        ({"Authorization": "Bearer a-token"}, User("alice")),
        ({"Authorization": "bearer r-token"}, User("root", admin=True)),
        ({"auth_token": "a-token"}, User("alice")),
        ({}, None),
        ({"Authorization": "Bearer wrong"}, None),
        ({"Authorization": "Bearer "}, None),
        ({"Authorization": "Basic a-token"}, None),
        ({"auth_token": ""}, None),
        ({"auth_token": hashlib.sha256(b"a-token").hexdigest()}, None),
        ({"auth_token": "é"}, None),
    ],
)
def test_a_token_lets_its_user_in_and_nothing_else_does(headers, user):
    assert Tokens(FILE)(make_mocked_request("GET", "/", headers=headers)) == user


@pytest.mark.parametrize(
    "text", ["alice", "alice:xyz", "alice:00", ":" + "0" * 64, "alice:" + "0" * 64 + ":boss", "alice:" + "0" * 62]
)
def test_a_line_of_any_other_form_is_refused_by_its_number(text):
    with pytest.raises(ConfigError, match="Line 2"):
        Tokens("# first\n" + text)


def test_a_file_that_lets_nobody_in_is_refused(tmp_path):
    """Or cannot be read."""
    (tmp_path / "empty").write_text("# nobody\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("empty", "binary", "missing"):
        with pytest.raises(ConfigError):
            Tokens.read(tmp_path / name)


@pytest.mark.parametrize("admin", [False, True])
def test_a_new_token_admits_its_user(admin):
    token, text = new_token("alice", admin=admin)
    request = make_mocked_request("GET", "/", headers={"Authorization": f"Bearer {token}"})
    assert Tokens(text)(request) == User("alice", admin=admin)
    assert token not in text


@pytest.mark.parametrize("name", ["", "a:b", "#a", " a", "a\nb"])
def test_a_name_that_the_file_could_not_hold_is_refused(name):
    with pytest.raises(ConfigError):
        new_token(name)


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ({"Host": "127.0.0.1:8080"}, True),
        ({"Host": "localhost:8080"}, True),
        ({"Host": "[::1]:8080"}, True),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}, True),
        ({}, True),
        ({"Host": "evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "[::1"}, False),
        ({"Host": "localhost:8080", "Origin": "http://evil.example"}, False),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8081"}, False),
        ({"Host": "localhost:8080", "Origin": "null"}, False),
        ({"Host": "localhost:8080", "Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_without_tokens_a_page_from_elsewhere_cannot_act_through_a_browser_here(headers, served):
    """Neither across origins nor by a name that was rebound to this machine."""
    request = make_mocked_request("POST", "/export", headers=headers)
    if served:
        assert local_user()(request).admin
    else:
        with pytest.raises(Forbidden):
            local_user()(request)


async def test_every_route_but_health_asks_for_a_token(root):
    """Also those that are none."""
    async with serving(root, authenticate=Tokens(FILE)) as server:
        for method, path in [
            ("POST", "/upload"),
            ("DELETE", "/upload/terminate"),
            ("POST", "/export"),
            ("POST", "/export/terminate"),
            ("GET", "/jobs"),
            ("GET", "/jobs/x"),
            ("DELETE", "/jobs/x"),
            ("GET", "/nothing"),
        ]:
            async with server.client.request(method, server.url + path) as response:
                assert response.status == 401, path
                assert response.headers["WWW-Authenticate"] == "Bearer"
            async with server.client.request(method, server.url + path, headers={"auth_token": "a-token"}) as response:
                assert response.status != 401, path


@pytest.mark.parametrize("at", [0, 8, -1])
def test_a_token_must_match_to_the_last_byte(at):
    near = list(hashlib.sha256(b"a-token").hexdigest())
    near[at] = "0" if near[at] != "0" else "1"
    request = make_mocked_request("GET", "/", headers={"auth_token": "a-token"})
    assert Tokens(f"alice:{''.join(near)}")(request) is None


@pytest.mark.parametrize("token", ["a", "b", "c", "wrong"])
def test_every_token_is_compared_whoever_asks(monkeypatch, token):
    """In constant time, and all of them: how long it takes tells nothing."""
    compared, real = [], hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(a) or real(a, b))
    tokens = Tokens("\n".join(line(name, name) for name in "abc"))
    tokens(make_mocked_request("GET", "/", headers={"auth_token": token}))
    assert len(compared) == 3


def test_an_empty_token_is_nobodys():
    """Nothing is compared, and a line that would let it in is refused."""
    tokens = Tokens(line("alice", "a"))
    for headers in ({}, {"auth_token": ""}, {"auth_token": "  "}, {"Authorization": "Bearer "}):
        assert tokens(make_mocked_request("GET", "/", headers=headers)) is None
    with pytest.raises(ConfigError, match="empty"):
        Tokens(f"alice:{hashlib.sha256().hexdigest()}")
