"""What is done to a server while its disk fails, and what is there before and afterwards."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from yarl import URL

from headgate.lowlevel.page_memory import PAGE
from headgate.storage.local.incoming import staged_file as staged
from headgate.transfer.inbound import direct
from support import FORM, HeldUpload, Server, eventually, form, part
from tus import BYTES, VERSION, named


@dataclass(frozen=True)
class Outcome:
    """What the client of a scenario had: a status, the code of a refusal, or that its connection broke."""

    status: int
    code: str | None = None


#: Success, a refusal that says why, or (of an export) a broken connection.
CLEAR = {
    *(Outcome(200), Outcome(201), Outcome(409, "terminated"), Outcome(0, "broken")),
    *(Outcome(500, "storage-failed"), Outcome(503, "busy"), Outcome(507, "storage-full")),
}

Files = dict[str, bytes]


@dataclass(frozen=True)
class Scenario:
    """Something to do to a server that has the files `before`, and what it has if that succeeds."""

    act: Callable[[Server], Awaitable[Outcome]]
    before: Files
    after: Files
    config: dict[str, Any] = field(default_factory=dict)


async def _upload(server: Server, files: Files, query: str = "") -> Outcome:
    body = form(*(part(name, data) for name, data in files.items()))
    async with server.client.post(f"{server.url}/upload{query}", data=body, headers=FORM) as response:
        return Outcome(response.status, (await response.json(content_type=None)).get("code"))


def uploading(files: Files, query: str = "") -> Callable[[Server], Awaitable[Outcome]]:
    return lambda server: _upload(server, files, query)


async def _terminated(server: Server) -> Outcome:
    upload = HeldUpload(server)
    upload.send(part("a", b"new" * 1000) + part("b", b"new"))
    job = server.jobs.live()
    await eventually(lambda: server.jobs.live() or upload.response.done(), "a job, or a refusal")
    for job in server.jobs.live():
        await eventually(lambda job=job: job.bytes_done >= 3000 or upload.response.done(), "some bytes, or a refusal")
        async with server.client.delete(f"{server.url}/jobs/{job.id}"):
            pass
    status, body, _ = await upload.response
    return Outcome(status, body.get("code"))


def exporting(name: str, expected: bytes, **headers: str) -> Callable[[Server], Awaitable[Outcome]]:
    async def act(server: Server) -> Outcome:
        headers_ = {key.replace("_", "-"): value for key, value in headers.items()}
        async with server.client.post(server.url + "/export", json={"filename": name}, headers=headers_) as response:
            if response.status != 200:
                return Outcome(response.status, (await response.json(content_type=None)).get("code"))
            try:
                body = await response.read()
            except Exception:
                return Outcome(0, "broken")
            return Outcome(200 if body == expected else -1, None)

    return act


async def _deleted(server: Server) -> Outcome:
    async with server.client.delete(f"{server.url}/files/a") as response:
        code = None if response.status == 204 else (await response.json(content_type=None)).get("code")
        return Outcome(200 if response.status == 204 else response.status, code)


async def _listed(server: Server) -> Outcome:
    async with server.client.get(f"{server.url}/files") as response:
        body = await response.json(content_type=None)
        if response.status == 200:
            assert [file["name"] for file in body["files"]] == ["a", "b"]
        return Outcome(response.status, body.get("code"))


async def _tus(
    server: Server, method: str, path: str, headers: dict[str, str], data: bytes = b""
) -> tuple[Outcome, str]:
    """One request, and where it says that the upload is."""
    headers = VERSION | BYTES | headers
    async with server.client.request(method, server.url + path, headers=headers, data=data) as response:
        code = json.loads(body).get("code") if (body := await response.read()) else None
        status = 201 if response.status == 204 else response.status
        return Outcome(status, code), URL(response.headers.get("Location", "")).path


async def _resumed(server: Server) -> Outcome:
    """Created, appended to with a checksum, and completed. What cannot go on is terminated."""
    outcome, path = await _tus(server, "POST", "/tus/", named("a") | {"Upload-Length": str(len(NEW))})
    offset = 0
    for size in (1000, len(NEW) - 1000):
        data = NEW[offset : offset + size]
        if outcome.status == 201:
            checksum = f"sha1 {b64encode(hashlib.sha1(data).digest()).decode()}"
            headers = {"Upload-Offset": str(offset), "Upload-Checksum": checksum}
            outcome, _ = await _tus(server, "PATCH", path, headers, data)
        offset += size
    if outcome.status != 201 and path != "/":
        for id_ in [job.id for job in server.jobs.live()]:
            await _tus(server, "DELETE", f"/tus/{id_}", {})
    return outcome


async def _in_parts(server: Server) -> Outcome:
    """Two parts, and what is made of them."""
    paths = []
    for data in (NEW[:1000], NEW[1000:]):
        headers = {"Upload-Length": str(len(data)), "Upload-Concat": "partial"}
        outcome, path = await _tus(server, "POST", "/tus/", headers, data)
        paths.append(path)
        if outcome.status != 201:
            break
    else:
        outcome, _ = await _tus(server, "POST", "/tus/", named("a") | {"Upload-Concat": f"final;{' '.join(paths)}"})
    if outcome.status != 201:
        for id_ in [job.id for job in server.jobs.live()]:
            await _tus(server, "DELETE", f"/tus/{id_}", {})
    return outcome


async def _large(server: Server) -> Outcome:
    """Received into blocks, from which the disk takes it by itself."""
    with (
        mock.patch.multiple(
            direct,
            DIRECT_FROM_BYTES=1,
            FAST_READ_BYTES=1,
            MIN_SHARE_BYTES=2 * PAGE,
            TURN_BYTES=2 * PAGE,
            BLOCK_BYTES=8 * PAGE,
        ),
        mock.patch.object(staged, "DIRECT_WRITE_BYTES", 2 * PAGE),
    ):
        async with server.client.put(f"{server.url}/files/a", data=LARGE) as response:
            return Outcome(response.status, (await response.json(content_type=None)).get("code"))


LARGE = b"large" * 60_000

OLD, NEW = b"old" * 1000, b"new" * 2000
QUOTA = {"quota": 10**6, "quota_per_owner": 10**6}

SCENARIOS = {
    "upload": Scenario(uploading({"a": NEW}), {}, {"a": NEW}, QUOTA),
    "upload two": Scenario(uploading({"a": NEW, "b": OLD}), {}, {"a": NEW, "b": OLD}),
    "rename": Scenario(
        uploading({"a": NEW, "b": NEW}, "?on_conflict=rename"), {"a": OLD}, {"a": OLD, "a (1)": NEW, "b": NEW}
    ),
    "replace": Scenario(uploading({"a": NEW}, "?on_conflict=replace"), {"a": OLD}, {"a": NEW}, QUOTA),
    "replace two": Scenario(
        uploading({"a": NEW, "b": NEW}, "?on_conflict=replace"), {"a": OLD, "b": OLD}, {"a": NEW, "b": NEW}
    ),
    "terminate": Scenario(_terminated, {"c": OLD}, {"c": OLD}),
    "export": Scenario(exporting("a", OLD * 100), {"a": OLD * 100}, {"a": OLD * 100}),
    "export with digest": Scenario(
        exporting("a", OLD * 100, Want_Repr_Digest="sha-256=1"), {"a": OLD * 100}, {"a": OLD * 100}
    ),
    "delete": Scenario(_deleted, {"a": OLD, "b": NEW}, {"b": NEW}, QUOTA),
    "large": Scenario(_large, {"b": OLD}, {"a": LARGE, "b": OLD}, QUOTA),
    "resumable": Scenario(_resumed, {"b": OLD}, {"a": NEW, "b": OLD}, QUOTA),
    "in parts": Scenario(_in_parts, {"b": OLD}, {"a": NEW, "b": OLD}, QUOTA),
    "list": Scenario(_listed, {"a": OLD, "b": NEW}, {"a": OLD, "b": NEW}),
}
