"""Clients of resumable uploads as they are, on a way that breaks after every 7 MB: what arrives is whole, and few bytes
are sent twice."""

import asyncio
import base64
import hashlib
import io
import itertools
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiotus
import pytest
from tusclient.client import TusClient
from yarl import URL

from e2e.conftest import Process, curl, running
from e2e.npm import install, node, run
from headgate.web.middleware.tokens import new_token
from proxy import Proxy, at_random, breaking, every
from support import eventually

SIZE = 100_000_000
CUT = 7_000_000
NAME = "whole.bin"


@pytest.fixture(scope="module")
def clients(pytestconfig):
    """Where node finds the clients."""
    return install(pytestconfig.cache.mkdir("npm"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The file that is uploaded."""
    path = tmp_path_factory.mktemp("source") / "source.bin"
    path.write_bytes(os.urandom(SIZE))
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def smaller(tmp_path_factory):
    """A third of it, for the clients' other ways."""
    path = tmp_path_factory.mktemp("source") / "smaller.bin"
    path.write_bytes(os.urandom(SIZE // 3))
    yield path
    path.unlink()


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def assert_published(server: Process, source, name=NAME):
    """The file is there, whole; of the upload nothing is left but what it was."""
    await eventually((server.root / name).exists, "the file")
    there, sent = await asyncio.gather(*(asyncio.to_thread(digest, path) for path in (server.root / name, source)))
    assert there == sent
    assert [name for name in os.listdir(server.root / ".staging") if not name.endswith(".kept.json")] == []
    (server.root / name).unlink()  # a hundred megabytes


@asynccontextmanager
async def breaking_server(root, source, *arguments) -> AsyncIterator[Proxy]:
    """The way to a server, cut after every 7 MB. In the end the file is published, and at most 1 % was sent twice."""
    async with running(root, *arguments) as server, breaking(server.url, every(CUT)) as proxy:
        yield proxy
        await assert_published(server, source)
        size = source.stat().st_size
        again = proxy.forwarded - size
        print(f"{proxy.cut} cuts; sent again: {again} bytes, {again / size:.3%}")
        assert proxy.cut >= size // CUT
        assert 0 <= again <= size // 100


def tus(proxy: Proxy, **options):
    """The options of a tus client in JavaScript."""
    return {"endpoint": f"{proxy.url}/tus/", "metadata": {"filename": NAME}} | options


#: Every chunk is a request, and the first of them comes with the creation. (Where all of a file does, a client of tus
#: that is cut then has not learnt where to go on.)
CREATION = {"chunkSize": 3_000_000, "uploadDataDuringCreation": True}


@pytest.mark.parametrize("package", ["tus4", "tus5"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param("stream", {}, id="stream"),
        pytest.param("buffer", {}, id="buffer"),
        pytest.param("stream", {"chunkSize": 3_000_000}, id="chunks"),
        pytest.param("stream", CREATION, id="creation"),
        pytest.param("stream", {"parallelUploads": 4}, id="parallel"),
    ],
)
async def test_tus_js_client_ends_with_the_whole_file(root, source, smaller, clients, package, kind, options):
    """Uploads by tus 1.0.0 that are cut go on where they were cut: as one request, in chunks, in four parts at once."""
    source = smaller if options or kind == "buffer" else source
    async with breaking_server(root, source) as proxy:
        options = tus(proxy, **options)
        await run(clients, "tus.mjs", package=package, path=str(source), kind=kind, options=options)


@pytest.mark.parametrize(
    ("package", "draft", "kind", "options"),
    [
        pytest.param("tus4", "ietf-draft-05", "stream", {}, id="4-05-stream"),  # it never says that it is complete
        pytest.param("tus4", "ietf-draft-05", "buffer", {}, id="4-05-buffer"),
        pytest.param("tus4", "ietf-draft-03", "buffer", {}, id="4-03-buffer"),
        pytest.param("tus4", "ietf-draft-03", "stream", CREATION, id="4-03-creation"),
        pytest.param("tus5", "ietf-draft-05", "stream", {}, id="5-05-stream"),
        pytest.param("tus5", "ietf-draft-05", "buffer", {}, id="5-05-buffer"),
        pytest.param("tus5", "ietf-draft-05", "stream", CREATION, id="5-05-creation"),
        pytest.param("tus5", "ietf-draft-03", "stream", {}, id="5-03-stream"),
    ],
)
async def test_the_ietfs_drafts_end_with_the_whole_file(root, source, smaller, clients, package, draft, kind, options):
    """The same by the two drafts that tus-js-client speaks."""
    source = smaller if options or kind == "buffer" else source
    async with breaking_server(root, source) as proxy:
        endpoint = f"{proxy.url}/upload?filename={NAME}"
        options = {"endpoint": endpoint, "protocol": draft} | options
        await run(clients, "tus.mjs", package=package, path=str(source), kind=kind, options=options)


async def test_uppy_ends_with_the_whole_file(root, source, clients, tmp_path):
    """Uppy goes on where it was cut."""
    async with breaking_server(root, source) as proxy:
        told = {"path": str(source), "name": NAME, "urls": str(tmp_path / "urls.json")}
        await run(clients, "uppy.mjs", **told, options={"endpoint": f"{proxy.url}/tus/"})


async def test_uppy_goes_on_in_another_process(root, source, clients, tmp_path):
    """A browser that is closed in the middle, and opened again: the second process sends what the first did not."""
    async with breaking_server(root, source) as proxy:
        told = {"path": str(source), "name": NAME, "urls": str(tmp_path / "urls.json")}
        told["options"] = {"endpoint": f"{proxy.url}/tus/"}
        async with node(clients, "uppy.mjs", **told) as first:
            await eventually(lambda: proxy.forwarded > SIZE // 2, "the first half")
            first.kill()
        await run(clients, "uppy.mjs", **told)


async def test_tuspy_ends_with_the_whole_file_though_what_is_cut_is_not_kept(root, source):
    """Of a chunk with a checksum all is kept or nothing: only what was cut of such chunks is sent again."""
    async with breaking_server(root, source) as proxy:
        client = TusClient(f"{proxy.url}/tus/")
        with source.open("rb") as file:
            uploader = client.uploader(
                file_stream=file,
                chunk_size=64 * 1024,
                metadata={"filename": NAME},
                upload_checksum=True,
                retries=20,
                retry_delay=0.05,
            )
            await asyncio.to_thread(uploader.upload)


#: How aiotus is asked to go on. It hands its chunks to aiohttp, which warns of those that are larger.
PATIENTLY = {
    "config": aiotus.RetryConfiguration(retry_attempts=100, max_retry_period_seconds=0.05),
    "chunksize": 1024 * 1024,
}


async def test_aiotus_ends_with_the_whole_file(root, source):
    """aiotus goes on where it was cut."""
    async with breaking_server(root, source) as proxy:
        with source.open("rb") as file:
            metadata = {"filename": NAME.encode()}
            assert await aiotus.upload(f"{proxy.url}/tus/", file, metadata, **PATIENTLY) is not None


async def test_aiotus_joins_parts(root, source):
    """Parts that were cut make the whole."""
    async with breaking_server(root, source) as proxy:
        data = await asyncio.to_thread(source.read_bytes)
        parts = [io.BytesIO(data[at : at + SIZE // 4]) for at in range(0, SIZE, SIZE // 4)]
        metadata = {"filename": NAME.encode()}
        assert await aiotus.upload_multiple(f"{proxy.url}/tus/", parts, metadata, **PATIENTLY) is not None


def headers(**fields):
    """Arguments of curl."""
    return tuple(itertools.chain.from_iterable(("-H", f"{k.replace('_', '-')}: {v}") for k, v in fields.items()))


def told(answers: bytes, name: str) -> str:
    """The last field of that name in the heads of `answers`."""
    return re.findall(rf"^{name}: (.*?)\r$", answers.decode(), re.IGNORECASE | re.MULTILINE)[-1]


def rest(source, offset):
    """Arguments of curl: send the file from there on."""
    return ("-T", str(source), "-C", str(offset), "-H", "Content-Range:")


async def test_curl_by_hand_ends_with_the_whole_file(root, source):
    """Ask for the offset, send the rest, and again: until all is there."""
    tus = headers(Tus_Resumable="1.0.0")
    name = base64.b64encode(NAME.encode()).decode()
    async with breaking_server(root, source) as proxy:
        creation = headers(Upload_Length=SIZE, Upload_Metadata=f"filename {name}")
        made = await curl("--include", "-X", "POST", *tus, *creation, f"{proxy.url}/tus/")
        url = told(made.body, "Location")
        while (offset := int(told((await curl("--head", *tus, url)).body, "Upload-Offset"))) < SIZE:
            append = headers(Upload_Offset=offset, Content_Type="application/offset+octet-stream")
            await curl("-X", "PATCH", *tus, *append, *rest(source, offset), url)


async def test_curl_by_hand_learns_from_a_plain_upload_where_to_go_on(root, source, tmp_path):
    """The IETF's way: a plain upload that is cut has told by then, in a 104, where its rest is wanted."""
    version = headers(Upload_Draft_Interop_Version=8)
    whole = headers(Upload_Complete="?1")
    async with breaking_server(root, source) as proxy:
        heads = tmp_path / "heads"
        cut = await curl(
            "-D", str(heads), "-X", "POST", *version, *whole, "-T", str(source), f"{proxy.url}/upload?filename={NAME}"
        )
        assert cut.code != 0
        assert heads.read_text().startswith("HTTP/1.1 104 ")
        url, status = told(heads.read_bytes(), "Location"), 0
        while status != 201:
            offset = int(told((await curl("--head", *version, url)).body, "Upload-Offset"))
            append = headers(Upload_Offset=offset, Content_Type="application/partial-upload")
            status = (await curl("-X", "PATCH", *version, *whole, *append, *rest(source, offset), url)).status


async def test_a_token_goes_with_every_request(root, source, clients, tmp_path):
    """A server that requires a token, and a client that resumes there."""
    token, line = new_token("alice")
    (tmp_path / "tokens").write_text(f"{line}\n")
    async with breaking_server(root, source, "--tokens", str(tmp_path / "tokens")) as proxy:
        told = tus(proxy, headers={"Authorization": f"Bearer {token}"})
        await run(clients, "tus.mjs", package="tus4", path=str(source), kind="stream", options=told)


@pytest.mark.parametrize("seed", [1, 2])
async def test_resets_anywhere_cost_bytes_and_not_the_file(root, source, clients, seed):
    """Connections that are reset, where bytes that were sent are lost on the way: the file is whole."""
    async with running(root) as server, breaking(server.url, at_random(seed, 100, 2 * CUT), reset=True) as proxy:
        await run(clients, "tus.mjs", package="tus4", path=str(source), kind="stream", options=tus(proxy))
        await assert_published(server, source)


async def test_a_killed_server_goes_on_where_it_was(root, source, clients):
    """kill -9 in the middle, and a new server on the same port and root: the client notices a pause."""
    async with running(root) as server, breaking(server.url) as proxy:
        client = node(clients, "tus.mjs", package="tus4", path=str(source), kind="stream", options=tus(proxy))
        async with client as uploading:
            await eventually(lambda: proxy.forwarded > SIZE // 2, "the first half")
            await server.stop(signal.SIGKILL)
            async with running(root, "--port", str(URL(server.url).port)) as again:
                await uploading.succeeded()
                await assert_published(again, source)
            assert proxy.forwarded - SIZE < SIZE // 5, (
                "what was on its way to the old server is sent again, and no more"
            )


@pytest.mark.parametrize("package", ["tus4", "tus5"])
async def test_two_clients_of_one_upload_do_not_mix_their_bytes(root, source, clients, package):
    """Each takes the upload over from the other, again and again; in the end it is whole, and both know."""
    async with running(root, "--total-rate", "50MB") as server, breaking(server.url) as proxy:
        url = f"{proxy.url}/tus/"
        metadata = f"filename {base64.b64encode(NAME.encode()).decode()}"
        creation = headers(Tus_Resumable="1.0.0", Upload_Length=SIZE, Upload_Metadata=metadata)
        made = await curl("--include", "-X", "POST", *creation, url)
        options = {"uploadUrl": told(made.body, "Location")}
        one = {"package": package, "path": str(source), "kind": "stream"}
        await asyncio.gather(*(run(clients, "tus.mjs", **one, options=options) for _ in range(2)))
        assert proxy.asked["PATCH"] > 2, "they never met"
        await assert_published(server, source)
