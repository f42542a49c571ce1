"""GET /jobs, GET and DELETE /jobs/{id}; health; and how a job reads."""

import asyncio
import re
from datetime import datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from headgate import Config, create_app
from headgate.errors import JobNotFound
from headgate.web.jobs.job_ids import parse_job_id
from support import HeldUpload, as_user, form, part, serving, token_users

FIELDS = [
    "id",
    "kind",
    "state",
    "owner",
    "names",
    "bytes_done",
    "bytes_total",
    "rate",
    "limit",
    "eta",
    "created_at",
    "updated_at",
    "ended_at",
    "ended_by",
    "reason",
]


async def get(server, path, user="alice"):
    async with server.client.get(server.url + path, headers=as_user(user)) as response:
        return response.status, await response.json(content_type=None)


async def test_a_job_reads_the_same_everywhere(team):
    """In the upload's own answer, in the list, alone; times are RFC 3339 in UTC."""
    response = await team.upload("a", b"x", headers=as_user("alice"))
    body = await response.json()
    assert body.pop("files") == [{"name": "a", "size": 1}]
    assert list(body) == FIELDS
    assert (await get(team, "/jobs"))[1] == {"jobs": [body]}
    assert (await get(team, f"/jobs/{body['id']}"))[1] == body
    for name in ("created_at", "updated_at", "ended_at"):
        assert body[name].endswith("Z")
        assert datetime.fromisoformat(body[name]).utcoffset().total_seconds() == 0


async def test_one_sees_ones_own_and_an_admin_all(team):
    for user in ("alice", "bob"):
        await team.upload(user, b"x", headers=as_user(user))
    held = HeldUpload(team, as_user("alice"))
    held.send(part("c", b"x" * 100)[:-2])
    await held.began(90)

    async def owners(user):
        return [(job["owner"], job["state"]) for job in (await get(team, "/jobs", user))[1]["jobs"]]

    assert await owners("alice") == [("alice", "running"), ("alice", "completed")]
    assert await owners("bob") == [("bob", "completed")]
    assert await owners("root") == [("alice", "running"), ("bob", "completed"), ("alice", "completed")]
    assert await owners("carol") == []
    held.send(b"\r\n" + form())
    held.end()
    assert (await held.response)[0] == 201


async def test_progress_and_rate_of_a_running_job(team):
    held = HeldUpload(team, as_user("alice"))
    held.send(part("c", b"x" * 10_000)[:-2])
    job = await held.began(9000)
    _, first = await get(team, f"/jobs/{job.id}")
    assert (first["bytes_total"], first["eta"], first["limit"]) == (None, None, None)
    assert first["rate"] > 0
    assert first["ended_at"] is None
    assert first["updated_at"] >= first["created_at"]
    held.send(b"\r\n" + form())
    held.end()
    await held.response
    _, last = await get(team, f"/jobs/{job.id}")
    assert (last["rate"], last["bytes_total"]) == (0, 10_000)


async def test_the_list_is_bounded(root):
    async with serving(root, authenticate=token_users, config={"ended_jobs": 2}) as team:
        for number in range(4):
            await team.upload(f"f{number}", b"x", headers=as_user("alice"))
        _, body = await get(team, "/jobs")
        assert [job["names"] for job in body["jobs"]] == [["f3"], ["f2"]]


@pytest.mark.parametrize(
    "text",
    ["", "x", "1" * 32, "{12345678-1234-4234-8234-123456789abc}", "urn:uuid:12345678-1234-4234-8234-123456789abc"],
)
def test_only_the_canonical_form_is_an_id(text):
    with pytest.raises(JobNotFound):
        parse_job_id(text, JobNotFound())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/", 405, "method-not-allowed"),
        ("GET", "/nothing", 404, "not-found"),
        ("PUT", "/upload", 405, "method-not-allowed"),
        ("GET", "/export", 405, "method-not-allowed"),
        ("GET", "/jobs/%00", 404, "no-such-job"),
        ("GET", "/jobs/<script>", 404, "no-such-job"),
    ],
)
async def test_every_other_call_is_a_problem(server, method, path, status, code):
    """Also what aiohttp itself refuses; and what was asked for is not repeated in the answer."""
    async with server.client.request(method, server.url + path) as response:
        assert response.content_type == "application/problem+json"
        text = await response.text()
        body = await response.json(content_type=None)
    assert (response.status, body["code"]) == (status, code)
    assert (status == 405) == ("Allow" in response.headers)
    assert "script" not in text
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("line", ["GET /nothing", "PUT /upload", "OPTIONS *", "GET /jobs", "DELETE /upload/terminate"])
@pytest.mark.parametrize("expect", [b"100-continue", b"miracles", b"100-\xe6ontinue"])
async def test_an_expectation_changes_no_answer_of_a_call_without_a_body(server, line, expect):
    """aiohttp would answer what no route takes with its own 417, or fail at a byte that is not text."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answers = []
    for more in (b"", b"Expect: " + expect + b"\r\n"):
        writer.write(line.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])
        answers.append((head.split(b"\r\n")[0], await reader.readexactly(length)))
    writer.close()
    assert answers[0] == answers[1]


async def test_routes_that_are_added_later_are_reached(root):
    """Whatever their pattern; what headgate says of unknown paths comes last."""

    async def theirs(request: web.Request) -> web.Response:
        return web.Response(text="theirs")

    app = create_app(Config(root=root))
    app.router.add_get("/{name}", theirs)
    app.router.add_get("/{name}/{rest:.*}", theirs)
    async with TestClient(TestServer(app)) as client:
        for path, status in (("/any", 200), ("/any/thing/else", 200), ("/healthz", 200), ("/", 200)):
            async with client.get(path) as response:
                assert response.status == status, path


async def test_health_needs_no_name(team):
    for path, status in (("/healthz", "alive"), ("/readyz", "ready")):
        async with team.client.get(team.url + path) as response:
            assert (response.status, await response.json()) == (200, {"status": status})


async def test_a_draining_server_is_alive_and_not_ready(team):
    """From the shutdown on: readyz 503, no new jobs."""
    await team.jobs.shut_down()
    async with team.client.get(team.url + "/healthz") as response:
        assert response.status == 200
    async with team.client.get(team.url + "/readyz") as response:
        assert response.status == 503
    response = await team.upload("a", b"x", headers=as_user("alice"))
    assert (response.status, (await response.json(content_type=None))["code"]) == (503, "shutdown")


async def test_no_answer_is_kept_by_caches(server):
    for path in ("/jobs", "/healthz", "/nothing"):
        async with server.client.get(server.url + path) as response:
            assert response.headers["Cache-Control"] == "no-store"
