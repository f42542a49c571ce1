"""Pages of other origins: those that are configured may be clients, and no others."""

import pytest

from headgate.web.middleware.auth import local_user
from support import as_user, serving, token_users
from tus import call, named

ORIGIN = "https://app.example"
PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "tus-resumable,upload-offset"}


@pytest.fixture
async def server(root):
    async with serving(root, authenticate=token_users, config={"cors_origins": {ORIGIN}}) as server:
        yield server


async def test_a_configured_origin_may_ask_before_it_sends(server):
    """Without a token, on every path; all that the protocols need is allowed."""
    for path in ("/tus/", "/tus/x", "/upload", "/uploads/x", "/jobs", "/files/a"):
        answer = await call(server, "OPTIONS", path, PREFLIGHT | {"Origin": ORIGIN})
        assert answer.status == 204
        assert answer["Access-Control-Allow-Origin"] == ORIGIN
        assert {"PATCH", "HEAD", "DELETE"} <= set(answer["Access-Control-Allow-Methods"].split(", "))
        allowed = answer["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"authorization", "tus-resumable", "upload-offset", "upload-length", "upload-metadata"} <= set(allowed)
        assert {"upload-checksum", "upload-concat", "upload-complete", "x-http-method-override"} <= set(allowed)
        assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_its_page_can_read_what_it_needs_also_of_errors(server):
    headers = {"Upload-Length": "1", "Origin": ORIGIN} | as_user("alice") | named("a")
    created = await call(server, "POST", "/tus/", headers)
    refused = await call(server, "POST", "/tus/", headers | {"Upload-Length": "x"})
    unknown = await call(server, "HEAD", "/tus/x", {"Origin": ORIGIN})
    assert [answer.status for answer in (created, refused, unknown)] == [201, 400, 401]
    for answer in (created, refused, unknown):
        assert answer["Access-Control-Allow-Origin"] == ORIGIN
        assert answer["Vary"] == "Origin"
        exposed = answer["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "Upload-Offset", "Upload-Length", "Upload-Expires", "Job-Id"} <= set(exposed)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://app.example", "https://app.example.evil", "null", ""]
)
async def test_no_other_origin_may(server, origin):
    for method in ("OPTIONS", "POST"):
        answer = await call(server, method, "/tus/", PREFLIGHT | {"Origin": origin} | as_user("alice"))
        assert not [name for name in answer.headers if name.startswith("Access-Control")]


async def test_where_none_is_configured_nothing_is_said_of_it(root):
    async with serving(root) as server:
        answer = await call(server, "OPTIONS", "/tus/", PREFLIGHT | {"Origin": ORIGIN})
        assert not [name for name in answer.headers if name.startswith("Access-Control") or name == "Vary"]


async def test_without_tokens_a_configured_origin_is_as_good_as_our_own(root):
    """And no other."""
    origins = frozenset({ORIGIN})
    async with serving(root, authenticate=local_user(origins), config={"cors_origins": origins}) as server:
        for origin, status in ((ORIGIN, 201), ("https://evil.example", 403)):
            headers = {"Upload-Length": "1", "Origin": origin, "Sec-Fetch-Site": "cross-site"}
            assert (await call(server, "POST", "/tus/", headers)).status == status


@pytest.mark.parametrize(
    ("config", "headers", "where"),
    [
        ({}, {}, "http://127.0.0.1:"),
        ({}, {"Host": "files.example", "Origin": "https://files.example"}, "https://files.example/tus/"),
        ({}, {"Host": "files.example", "Origin": "https://evil.example"}, "http://files.example/tus/"),
        ({}, {"Host": "files.example", "X-Forwarded-Proto": "https"}, "http://files.example/tus/"),
        ({"public_url": "https://out.example/"}, {"Host": "in.example"}, "https://out.example/tus/"),
        ({"public_url": "https://out.example/up"}, {"Host": "in.example"}, "https://out.example/up/tus/"),
    ],
)
async def test_locations_are_urls_that_the_client_can_reach(root, config, headers, where):
    """As it called us; through a proxy that ends TLS, as a browser says, or as is configured. No proxy is believed."""
    async with serving(root, config=config) as server:
        answer = await call(server, "POST", "/tus/", {"Upload-Length": "1"} | headers)
        assert answer["Location"].startswith(where)


async def test_mounted_elsewhere_locations_carry_the_prefix(root):
    async with serving(root, prefix="/files/up") as server:
        answer = await call(server, "POST", "/tus/", {"Upload-Length": "0"})
        assert answer["Location"].startswith(server.url + "/tus/")
        assert (await call(server, "HEAD", answer["Location"])).status == 200
