"""Who a request is for (RFC 9112, 3.2; RFC 9110, 7.2), and what the answers say of where we are."""

import json
from urllib.parse import urljoin

import aiohttp
import pytest

import tus
from headgate.web.middleware.auth import local_user
from headgate.web.middleware.tokens import Tokens, new_token
from raw import ask, request
from support import FORM, file_form, serving

TUS = ("Tus-Resumable: 1.0.0", "Upload-Length: 5")

NO_AUTHORITY = [
    "bad host",
    "127.0.0.1:abc",
    "user@127.0.0.1",
    "user:secret@127.0.0.1:80",
    "127.0.0.1:80:80",
    "127.0.0.1:99999",
    "127.0.0.1:-1",
    "127.0.0.1/path",
    "127.0.0.1?query",
    "127.0.0.1#fragment",
    "127.0.0.1, 127.0.0.2",
    "http://127.0.0.1",
    "[::1",
    "[x]",
    "::1",
    'a"b',
    "a<b>",
    "a\\b",
    "a%zz",
    "h\xf6st",
]


@pytest.mark.parametrize("host", NO_AUTHORITY)
async def test_a_host_that_is_none_is_refused(server, host):
    """On every path, before anything is done; and no answer redirects to that host."""
    for method, target, lines in (("POST", "/tus/", TUS), ("GET", "/files", ()), ("PUT", "/files/a", ())):
        reply = await ask(server.url, request(method, target, b"", *lines, f"Host: {host}"))
        assert (reply.status, reply.code) == (400, "malformed-request")
        assert "Location" not in reply.headers
    assert server.published() == {}
    assert not server.infos()


@pytest.mark.parametrize("target", ["/healthz", "/", "/nothing", "/session"])
async def test_pages_and_what_is_nowhere_have_a_host_too(server, target):
    reply = await ask(server.url, request("GET", target, None, "Host: user@127.0.0.1"))
    assert (reply.status, reply.code) == (400, "malformed-request")


@pytest.mark.parametrize("authority", ["127.0.0.1:8765", "files.example:8443", "[::1]:8765"])
@pytest.mark.parametrize("host", ["other.example", "127.0.0.1:1"])
async def test_the_authority_of_the_target_is_the_one_that_counts(server, authority, host):
    """With its port, whatever Host says (3.2.2)."""
    sent = request("POST", f"http://{authority}/tus/", b"", *TUS, f"Host: {host}")
    reply = await ask(server.url, sent)
    assert reply.status == 201
    assert reply["Location"].startswith(f"http://{authority}/tus/")
    sent = request("POST", f"http://{authority}/upload", b"12345", "Upload-Complete: ?0", f"Host: {host}")
    reply = await ask(server.url, sent)
    assert reply["Location"].startswith(f"http://{authority}/uploads/")


@pytest.mark.parametrize("target", ["http://user@127.0.0.1/tus/", "http://bad%zz/tus/"])
async def test_an_authority_that_is_none_is_refused_in_the_target_too(server, target):
    reply = await ask(server.url, request("POST", target, b"", *TUS, "Host: 127.0.0.1"))
    assert reply.status == 400
    assert "Location" not in reply.headers


async def test_without_tokens_the_target_says_who_is_meant(root):
    """A foreign name in it is refused as one in Host is; our own is served, whatever Host says."""
    async with serving(root, authenticate=local_user()) as server:
        for target, host, status in (
            ("http://evil.example/files", "127.0.0.1", 403),
            ("http://127.0.0.1/files", "evil.example", 200),
            (f"http://127.0.0.1:{server.port}/files", f"127.0.0.1:{server.port}", 200),
        ):
            reply = await ask(server.url, request("GET", target, None, f"Host: {host}"))
            assert reply.status == status, (target, host)


# Behind a proxy, under a path of its.

PUBLIC = "https://h.example/p"
ID = "5b3a92ef-71ee-4215-bb19-86e2eb692532"


def links(headers, path):
    """Where the answer to `path` sends its client, as the client understands it."""
    texts = [headers["Link"].partition(">")[0].removeprefix("<")] if "Link" in headers else []
    texts += [headers["Location"]] if "Location" in headers else []
    return [urljoin(PUBLIC + path, text) for text in texts]


@pytest.mark.parametrize("public", [PUBLIC, PUBLIC + "/"])
@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/upload", FORM, file_form("a", b"1"), 201),
        ("POST", "/upload", FORM, file_form("there", b"1"), 409),
        ("PUT", "/files/a", {}, b"1", 201),
        ("GET", "/files/there", {}, None, 200),
        ("POST", "/export", {"Content-Type": "application/json"}, json.dumps({"filename": "there"}), 200),
        ("POST", "/tus/", tus.VERSION | {"Upload-Length": "0"}, None, 201),
        ("POST", "/upload?filename=a", {"Upload-Complete": "?1"}, b"1", 201),
        ("POST", "/upload?filename=a", {"Upload-Complete": "?0"}, b"1", 201),
    ],
)
async def test_every_link_has_the_path_that_clients_see(root, public, method, path, headers, body, status):
    """Of a job, of an upload: all of them lead to where the public URL says that we are."""
    async with serving(root, config={"public_url": public}) as server:
        (root / "there").write_bytes(b"there")
        sent = headers | {"Job-Id": ID}
        async with server.client.request(method, server.url + path, headers=sent, data=body) as response:
            await response.read()
            assert response.status == status
            told = links(response.headers, path)
        assert f"{PUBLIC}/jobs/{ID}" in told
        assert all(url.startswith(PUBLIC + "/") for url in told), told


# Several servers on one host.

USERS = {name: new_token(name) for name in ("alice", "bob")}


async def sign_in(client, server, name):
    async with client.post(server.url + "/session", json={"token": USERS[name][0]}) as response:
        assert response.status == 200
        return response.headers["Set-Cookie"]


async def who(client, server):
    async with client.get(server.url + "/session") as response:
        user = (await response.json())["user"]
        return user and user["name"]


async def test_a_browser_may_be_signed_in_to_two_servers_of_one_host(tmp_path):
    """Cookies know no ports: to each its own, and signing out of one is not signing out of the other."""
    tokens = Tokens("\n".join(line for _, line in USERS.values()))
    async with (
        serving(tmp_path / "one", authenticate=tokens) as one,
        serving(tmp_path / "two", authenticate=tokens) as two,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client,
    ):
        assert (await sign_in(client, one, "alice")).startswith(f"headgate_token_{one.port}=")
        assert (await sign_in(client, two, "bob")).startswith(f"headgate_token_{two.port}=")
        assert [await who(client, server) for server in (one, two)] == ["alice", "bob"]
        async with client.delete(two.url + "/session") as response:
            assert response.status == 200
        assert [await who(client, server) for server in (one, two)] == ["alice", None]


@pytest.mark.parametrize(
    ("host", "name"), [("files.example:8443", "headgate_token_8443"), ("[::1]:8443", "headgate_token_8443")]
)
async def test_the_port_is_the_one_that_the_browser_used(root, host, name):
    """The port may be a proxy's; the cookie of another port does not count."""
    token = USERS["alice"][0]
    async with serving(root, authenticate=Tokens(USERS["alice"][1])) as server:
        body = json.dumps({"token": token}).encode()
        reply = await ask(
            server.url, request("POST", "/session", body, f"Host: {host}", "Content-Type: application/json")
        )
        assert reply["Set-Cookie"].startswith(f"{name}={token};")
        for cookie, status in ((name, 200), ("headgate_token_1", 401), ("headgate_token", 401)):
            reply = await ask(server.url, request("GET", "/jobs", None, f"Host: {host}", f"Cookie: {cookie}={token}"))
            assert reply.status == status, cookie
