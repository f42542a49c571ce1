"""Access: strangers learn nothing, names are refused alike everywhere, nothing leads out of the root, nothing leaks."""

import os
from urllib.parse import quote
from uuid import uuid4

import pytest

from headgate.names import check_name
from headgate.storage.local.catalog import source
from support import BOUNDARY, END, FORM, HeldUpload, as_user, form, part, serving, token_users

VOLATILE = ("Date", "Content-Length")


async def answer(server, method, path, user="bob", **kwargs):
    async with server.client.request(
        method, server.url + path, headers=as_user(user) | {"Tus-Resumable": "1.0.0"}, **kwargs
    ) as response:
        headers = {name: value for name, value in response.headers.items() if name not in VOLATILE}
        return response.status, headers, await response.text()


def routes_of_jobs(server):
    """Every way to speak of one job: a method, and a path with a place for its id."""
    for route in server.app.router.routes():
        path = route.resource.canonical
        if route.method == "OPTIONS":  # what it tells is nobody's
            continue
        if "{id}" in path:
            for method in ("HEAD", "PATCH", "DELETE") if route.method == "*" else (route.method,):
                yield method, path
        elif path.endswith("/terminate"):
            yield route.method, path + "?job={id}"


async def test_a_stranger_is_answered_as_for_a_job_that_never_was(team):
    """On every route, live or ended, to the byte (G6)."""
    live = HeldUpload(team, as_user("alice"))
    live.send(part("a", b"x" * 1000))
    job = await live.began(500)
    ended = uuid4()
    assert (await team.upload("b", b"x", headers=as_user("alice") | {"Job-Id": str(ended)})).status == 201
    routes = list(routes_of_jobs(team))
    assert len(routes) >= 5
    for method, path in routes:
        for id_ in (job.id, ended):
            theirs = await answer(team, method, path.replace("{id}", str(id_)))
            never = await answer(team, method, path.replace("{id}", str(uuid4())))
            assert theirs == never, (method, path)
            assert theirs[0] == 404
    assert not job.state.ended
    live.send(form())
    live.end()
    assert (await live.response)[0] == 201


BAD_NAMES = ["", ".", "..", ".hidden", "a/b", "/etc/passwd", "..\\a", "a\\b", "a\x00b", "a\x1fb", "a\x7fb", "é" * 128]


@pytest.mark.parametrize("name", BAD_NAMES[1:])
async def test_a_name_is_refused_alike_wherever_it_comes(server, name):
    """422 invalid-name, in the same words, and nothing has that name anywhere."""
    said = []
    extended = f"form-data; name=file; filename*=utf-8''{quote(name, safe='')}"
    body = f"--{BOUNDARY}\r\nContent-Disposition: {extended}\r\n\r\nx\r\n".encode() + END
    async with server.client.post(server.url + "/upload", data=body, headers=FORM) as response:
        said.append((response.status, await response.json(content_type=None)))
    async with server.client.post(server.url + "/export", json={"filename": name}) as response:
        said.append((response.status, await response.json(content_type=None)))
    async with server.client.post(server.url + "/export", data={"filename": name}) as response:
        said.append((response.status, await response.json(content_type=None)))
    assert {(status, body["code"], body["detail"]) for status, body in said} == {
        (422, "invalid-name", said[0][1]["detail"])
    }
    assert server.published() == {}
    with pytest.raises(Exception, match="name"):
        check_name(name)


@pytest.mark.parametrize("call", ["export", "replace", "rename", "reject"])
async def test_no_link_is_followed_out_of_the_root(server, root, tmp_path, call):
    """A symlink in the root is never followed: nothing outside of the root is read or changed."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    (root / "link").symlink_to(outside)
    (root / "directory").symlink_to(tmp_path)
    if call == "export":
        for name in ("link", "directory"):
            async with server.client.post(server.url + "/export", json={"filename": name}) as response:
                assert response.status == 404
                assert b"secret" not in await response.read()
    else:
        query = {"params": {"on_conflict": call}}
        response = await server.upload("link", b"new", **query)
        assert response.status == (409 if call == "reject" else 201)
    assert outside.read_bytes() == b"secret"
    assert sorted(os.listdir(tmp_path)) == sorted(["outside", root.name])


SCRIPT = "<script>alert(1)</script>\"'&"


async def test_nothing_that_comes_in_goes_out_as_anything_but_data(team, root):
    """Whatever is reflected is in JSON, said to be JSON, and not to be guessed at; an export is saved, never shown."""
    (root / "page.html").write_text(SCRIPT)
    escaped = SCRIPT.replace('"', '\\"').replace("/", "")
    asked = [
        ("POST", "/upload", {"data": form(part(escaped, b"x")), "headers": FORM}),
        ("POST", "/upload", {"data": form(part(escaped, b"x")), "headers": FORM}),
        ("POST", "/upload", {"params": {"on_conflict": SCRIPT}, "data": form(), "headers": FORM}),
        ("POST", "/upload", {"data": b"x", "headers": {"Content-Type": "text/html"}}),
        ("POST", "/upload", {"data": form(), "headers": FORM | {"Job-Id": SCRIPT}}),
        ("POST", "/export", {"json": {"filename": SCRIPT}}),
        ("POST", "/export", {"json": {"filename": SCRIPT.replace("/", "")}}),
        ("GET", f"/jobs/{SCRIPT}", {}),
        ("GET", f"/{SCRIPT}", {}),
        ("GET", "/jobs", {}),
        ("POST", "/export", {"json": {"filename": "page.html"}}),
    ]
    for method, path, kwargs in asked:
        headers = as_user("alice") | {"Accept": "text/html"} | kwargs.pop("headers", {})
        async with team.client.request(method, team.url + path, headers=headers, **kwargs) as response:
            text = await response.text()
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            if response.content_type == "application/octet-stream":
                assert response.headers["Content-Disposition"].startswith("attachment")
                assert "sandbox" in response.headers["Content-Security-Policy"]
            else:
                assert response.content_type in ("application/json", "application/problem+json")
            assert str(root) not in text


async def test_what_breaks_inside_shows_nothing_of_the_inside(root, monkeypatch):
    """A bug of ours is a 500 without a traceback, a path, or the error's own text."""

    def broken(*args):
        raise RuntimeError(f"secret in {root}")

    async with serving(root, authenticate=token_users) as server:
        monkeypatch.setattr(source.os, "fstat", broken)
        (root / "a").write_bytes(b"x")
        async with server.client.post(
            server.url + "/export", json={"filename": "a"}, headers=as_user("alice")
        ) as response:
            text = await response.text()
        monkeypatch.undo()
        assert response.status == 500
        for inside in ("secret", "Traceback", "RuntimeError", str(root)):
            assert inside not in text


async def test_tokens_are_compared_in_constant_time_against_all(monkeypatch):
    """As many comparisons for the first as for the last, and for none."""
    from types import SimpleNamespace

    from headgate.web.middleware import tokens as tokens_module

    compared = []
    real = tokens_module.hmac.compare_digest
    monkeypatch.setattr(tokens_module.hmac, "compare_digest", lambda a, b: compared.append(1) or real(a, b))
    made = [tokens_module.new_token(user) for user in ("a", "b", "c")]
    tokens = tokens_module.Tokens("\n".join(line for _, line in made))
    for token, user in [*((token, line[0]) for token, line in made), ("none", None)]:
        compared.clear()
        found = tokens(SimpleNamespace(headers={"Authorization": f"Bearer {token}"}))
        assert (found and found.name) == user
        assert len(compared) == 3
