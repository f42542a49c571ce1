"""Signing in with a token: the cookie, who may use it, and from where."""

from dataclasses import replace

import aiohttp
import pytest

from headgate.web.middleware.tokens import Tokens, new_token
from support import serving, token_users

TOKEN, LINE = new_token("alice")
ADMIN, ADMIN_LINE = new_token("root", admin=True)


@pytest.fixture(params=["", "/some/where"])
async def server(root, request):
    jar = aiohttp.CookieJar(unsafe=True)  # which keeps cookies of addresses, too
    async with (
        serving(root, authenticate=Tokens(f"{LINE}\n{ADMIN_LINE}\n"), prefix=request.param) as server,
        aiohttp.ClientSession(cookie_jar=jar) as client,
    ):
        yield replace(server, client=client)


async def call(server, method, path, **kwargs):
    async with server.client.request(method, server.url + path, **kwargs) as response:
        return response.status, await response.json(content_type=None), response


def origin(server):
    return server.url.removesuffix(server.path)


async def sign_in(server, token=TOKEN, **headers):
    return await call(server, "POST", "/session", json={"token": token}, headers=headers)


async def test_who_has_signed_in_is_known_by_a_cookie_alone(server):
    """Until signing out."""
    status, body, _ = await call(server, "GET", "/session")
    assert (status, body) == (200, {"user": None, "sign_in": True})
    assert (await call(server, "GET", "/jobs"))[0] == 401
    status, body, _ = await sign_in(server)
    assert (status, body) == (200, {"user": {"name": "alice", "admin": False}, "sign_in": True})
    assert (await call(server, "GET", "/jobs"))[:2] == (200, {"jobs": []})
    assert (await call(server, "GET", "/session"))[1]["user"]["name"] == "alice"
    status, body, _ = await call(server, "DELETE", "/session")
    assert (status, body["user"]) == (200, None)
    assert (await call(server, "GET", "/jobs"))[0] == 401


async def test_the_cookie_is_nobodys_but_this_pages(server):
    """No script reads it, no other site sends it, and it goes to no other application of this host."""
    _, _, response = await sign_in(server)
    cookie = response.cookies[f"headgate_token_{server.port}"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert cookie["path"] == f"{server.path}/"
    assert not cookie["secure"]  # over plain http the browser would not keep it
    _, _, response = await sign_in(server, Origin=origin(server).replace("http:", "https:"))
    assert response.cookies[f"headgate_token_{server.port}"]["secure"]  # behind a proxy that speaks TLS


@pytest.mark.parametrize(
    "token", ["wrong", "", TOKEN[:-1], "ü", "\ud800"], ids=["wrong", "none", "short", "not ASCII", "no text"]
)
async def test_a_wrong_token_is_nobodys(server, token):
    status, body, response = await sign_in(server, token)
    assert (status, body["code"]) == (401, "unauthorized")
    assert not response.cookies


@pytest.mark.parametrize("body", [[], {}, {"token": 5}, "x", None])
async def test_signing_in_needs_a_token(server, body):
    status, answer, _ = await call(server, "POST", "/session", json=body)
    assert (status, answer["code"]) == (400, "malformed-request")


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs"),
        ("POST", "/export"),
        ("DELETE", "/upload/terminate"),
        ("DELETE", "/files/a"),
        ("POST", "/upload"),
    ],
)
async def test_a_cookie_that_another_sites_page_sends_along_is_refused(server, headers, method, path):
    """Whatever a browser may think of SameSite: 403, and nothing is done. A token that is said is another matter."""
    await sign_in(server)
    status, body, _ = await call(server, method, path, headers=headers)
    assert (status, body["code"]) == (403, "forbidden")
    said = headers | {"Authorization": f"Bearer {TOKEN}"}
    assert (await call(server, method, path, headers=said))[0] != 403


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_another_sites_page_signs_nobody_in_or_out(server, headers):
    assert (await sign_in(server, **headers))[0] == 403
    await sign_in(server)
    assert (await call(server, "DELETE", "/session", headers=headers))[0] == 403
    assert (await call(server, "GET", "/jobs"))[0] == 200


async def test_our_own_page_is_served(server):
    await sign_in(server)
    for headers in (
        {"Origin": origin(server), "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": origin(server).upper()},
    ):
        assert (await call(server, "GET", "/jobs", headers=headers))[0] == 200


async def test_behind_a_proxy_the_browser_says_whose_page_it_is(server):
    """Whatever name the proxy calls us by."""
    outside = {"Origin": "https://files.example.org", "Sec-Fetch-Site": "same-origin"}
    assert (await sign_in(server, **outside))[0] == 200  # a cookie for https, which this client rightly keeps to itself
    await sign_in(server)
    assert (await call(server, "GET", "/jobs", headers=outside))[0] == 200


async def test_a_token_that_is_said_comes_before_the_cookie(server):
    await sign_in(server)
    headers = {"Authorization": f"Bearer {ADMIN}"}
    assert (await call(server, "GET", "/session", headers=headers))[1]["user"] == {"name": "root", "admin": True}
    headers = {"Authorization": "Bearer wrong"}
    assert (await call(server, "GET", "/jobs", headers=headers))[0] == 401


async def test_where_a_service_knows_its_users_itself_nobody_signs_in_here(root):
    async with serving(root, authenticate=token_users) as server:
        assert (await call(server, "GET", "/session"))[1] == {"user": None, "sign_in": False}
        _, body, _ = await call(server, "GET", "/session", headers={"X-User": "root"})
        assert body == {"user": {"name": "root", "admin": True}, "sign_in": False}
        assert (await sign_in(server, **{"X-User": "root"}))[0] == 405


async def test_a_cookie_outlives_a_restart(root, tmp_path):
    """It holds all there is to know: no table of sessions is lost with the process."""
    cookies, host = {}, ""
    for first in (True, False):
        async with serving(root, authenticate=Tokens(LINE)) as server:
            if first:
                host = f"127.0.0.1:{server.port}"
                _, _, response = await sign_in(server)
                cookies = {name: cookie.value for name, cookie in response.cookies.items()}
            # A server that is started again has the port that it had.
            async with server.client.get(server.url + "/jobs", headers={"Host": host}, cookies=cookies) as response:
                assert response.status == 200


async def test_each_server_of_a_host_has_a_cookie_of_its_own(root):
    """Cookies are shared by all ports of a host: a user who signs in to one server, and out again, stays signed in to
    the other."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        serving(root, authenticate=Tokens(LINE)) as one,
        serving(root.with_name("other"), authenticate=Tokens(LINE)) as other,
        aiohttp.ClientSession(cookie_jar=jar) as client,
    ):
        servers = [replace(server, client=client) for server in (one, other)]
        for server in servers:
            assert (await sign_in(server))[0] == 200
        assert (await call(servers[0], "DELETE", "/session"))[0] == 200
        assert [(await call(server, "GET", "/jobs"))[0] for server in servers] == [401, 200]
