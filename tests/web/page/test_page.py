"""The page as it is served: what it is made of, and what it may do. What it does is tested in a browser (e2e)."""

import re

import pytest
from aiohttp import web

from support import serving, token_users


@pytest.fixture(params=["", "/some/where"])
async def server(root, request):
    async with serving(root, authenticate=token_users, prefix=request.param) as server:
        yield server


async def get(server, path, **kwargs):
    async with server.client.get(server.url + path, **kwargs) as response:
        return response, await response.text()


async def test_the_page_is_there_for_everybody_and_so_is_all_that_it_names(server):
    """Under any prefix, without a token; and it names nothing of any other origin."""
    response, page = await get(server, "/")
    assert (response.status, response.content_type) == (200, "text/html")
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(named) >= 3
    seen = set()
    while named:
        name = named.pop()
        if name in seen:
            continue
        seen.add(name)
        assert re.fullmatch(r"static/[\w.]+", name), name
        response, text = await get(server, "/" + name)
        assert response.status == 200
        if name.endswith(".js"):
            assert response.content_type in ("text/javascript", "application/javascript")
            named += [f"static/{each}" for each in re.findall(r'from "\./([\w.]+)"', text)]
            assert "http:" not in text
            assert "https:" not in text
    assert {"static/main.js", "static/jobs.js", "static/style.css", "static/icon.svg"} <= seen


async def test_nothing_runs_in_the_page_but_its_own_modules(server):
    """A strict policy, and a page that keeps it: no inline script, no inline style, no handler in an attribute."""
    response, page = await get(server, "/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page)
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_what_has_not_changed_is_not_sent_again(server):
    for path in ("/", "/static/main.js"):
        response, text = await get(server, path)
        assert text
        assert response.headers["Cache-Control"] == "no-cache"
        tag = response.headers["ETag"]
        response, text = await get(server, path, headers={"If-None-Match": tag})
        assert (response.status, text) == (304, "")
        assert (await get(server, path, headers={"If-None-Match": '"other"'}))[0].status == 200


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpage.py", "index.html%00"])
async def test_nothing_else_is_served(server, name):
    response, _ = await get(server, "/static/" + name)
    assert response.status == 404


async def test_a_prefix_without_its_slash_leads_to_the_page(root):
    """The page's links are relative to what is below the prefix."""
    async with serving(root, prefix="/some/where") as server:
        async with server.client.get(server.url, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (308, "/some/where/")


async def test_a_host_may_have_a_page_of_its_own_at_its_root(root):
    """Mounted below it, ours takes nothing from it."""
    async with serving(root, prefix="/files") as server:
        assert (await get(server, "/"))[0].status == 200
        async with server.client.get(server.url.removesuffix("/files") + "/") as response:
            assert response.status == 404
        assert isinstance(server.app, web.Application)
