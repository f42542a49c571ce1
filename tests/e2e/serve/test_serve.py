"""``headgate serve``: where it listens, for whom, and how it ends."""

import asyncio
import json
import os
import resource
import signal
import ssl
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from e2e.conftest import curl, running
from support import PATIENCE, eventually, require

FREE = "0"
# A name that is not known to be loopback, and is: no test lets anybody in from outside.
NO_LOOPBACK = "127.1"
IPV6 = Path("/proc/net/if_inet6").exists()


async def headgate(*arguments, environment=None):
    """Run a command that is expected to end by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headgate", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | (environment or {}),
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("host", [NO_LOOPBACK, "0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_the_world_is_not_let_in_by_accident(root, host):
    """Another address than loopback needs tokens, or a word that it is meant; nothing is made before that."""
    code, _, err = await headgate("serve", "--host", host, "--port", FREE, "--root", str(root))
    assert code == 2
    assert "--tokens" in err
    assert "--anonymous" in err
    assert not root.exists()


async def test_the_world_is_let_in_when_that_is_meant(root):
    async with running(root, "--host", NO_LOOPBACK, "--anonymous") as server:
        assert (await curl(server.url + "/jobs")).status == 200


async def test_options_come_from_the_environment_and_the_command_line_wins(root, tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 2000)
    environment = {"HEADGATE_MAX_FILE_SIZE": "1KB", "HEADGATE_ON_CONFLICT": "rename", "HEADGATE_ANONYMOUS": "yes"}
    async with running(root, environment=environment) as server:
        assert (await curl("-F", f"file=@{tmp_path / 'a'}", f"{server.url}/upload")).status == 413
    async with running(root, "--max-file-size", "1M", environment=environment) as server:
        names = []
        for _ in range(2):
            answer = await curl("-F", f"file=@{tmp_path / 'a'}", f"{server.url}/upload")
            names += [file["name"] for file in json.loads(answer.body)["files"]]
        assert names == ["a", "a (1)"]


BAD = {
    "a port that is none": (["--port", "many"], {}, 2),
    "a size that is none": (["--max-file-size", "huge"], {}, 2),
    "a size that is none, in the environment": ([], {"HEADGATE_MAX_FILE_SIZE": "huge"}, 2),
    "a choice that is none": (["--on-conflict", "merge"], {}, 2),
    "a choice that is none, in the environment": ([], {"HEADGATE_ON_CONFLICT": "merge"}, 2),
    "a flag that is none, in the environment": ([], {"HEADGATE_ANONYMOUS": "perhaps"}, 2),
    "a certificate without a key": (["--tls-cert", "x"], {}, 2),
    "a certificate that is none": (["--tls-cert", "/dev/null", "--tls-key", "/dev/null"], {}, 2),
    "tokens that are not there": (["--tokens", "/nothing"], {}, 2),
    "tokens and anonymous": (["--tokens", "/nothing", "--anonymous"], {}, 2),
    "a root that cannot be": (["--root", "/proc/nothing"], {}, 1),
    "an address that cannot be had": (["--host", "192.0.2.1", "--anonymous"], {}, 1),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_stand_is_said_in_a_sentence(root, name):
    """One or a few lines on stderr, no traceback, a documented exit code, nothing served."""
    arguments, environment, code = BAD[name]
    returned, out, err = await headgate(
        "serve", "--port", FREE, "--root", str(root), *arguments, environment=environment
    )
    assert (returned, out) == (code, "")
    assert err
    assert "Traceback" not in err


@asynccontextmanager
async def uploading(server, tmp_path, *, size=2**30, speed="5M"):
    """A curl that is in the midst of an upload of a file called big; gives its outcome to be awaited."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(size)
    arguments = ("--limit-rate", speed, "-F", f"file=@{tmp_path / 'big'}", f"{server.url}/upload")
    upload = asyncio.create_task(curl(*arguments))
    await eventually(lambda: any((server.root / ".staging").iterdir()))
    yield upload
    await upload


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("ends_at", ["the drain timeout", "the second signal"])
async def test_a_signal_ends_it_cleanly(root, tmp_path, number, ends_at):
    """A running upload is ended with nothing left, its client told; exit code 0. A second signal does not wait."""
    seconds = "0.2" if ends_at == "the drain timeout" else "1000"
    async with running(root, "--drain-timeout", seconds) as server:
        async with uploading(server, tmp_path) as upload:
            server.process.send_signal(number)
            if ends_at == "the second signal":
                await eventually(lambda: "draining 1 jobs" in server.log.read_text())
                server.process.send_signal(number)
            assert await asyncio.wait_for(server.process.wait(), PATIENCE) == 0
            assert server.files() == []
            refused = await upload
            assert (refused.status, json.loads(refused.body)["code"]) == (503, "shutdown")
            assert "failed (shutdown)" in server.log.read_text()


async def test_while_it_drains_it_answers_and_takes_no_new_jobs(root, tmp_path):
    """Whoever asks is told: not ready, no upload, no export; what runs is still listed, and completes. Then the server
    ends, exit code 0."""
    async with running(root, "--drain-timeout", "1000") as server:
        (root / "there").write_bytes(b"x")
        async with uploading(server, tmp_path, size=20_000_000, speed="10M") as upload:
            assert (await curl(f"{server.url}/readyz")).status == 200
            server.process.send_signal(signal.SIGTERM)
            await eventually(lambda: "draining 1 jobs" in server.log.read_text())
            for refused in (
                await curl(f"{server.url}/readyz"),
                await curl("-F", "file=@/dev/null;filename=new", f"{server.url}/upload"),
                await curl("-d", "filename=there", f"{server.url}/export"),
            ):
                assert (refused.status, json.loads(refused.body)["code"]) == (503, "shutdown")
            assert (await curl(f"{server.url}/healthz")).status == 200
            listed = json.loads((await curl(f"{server.url}/jobs")).body)["jobs"]
            assert [job["state"] for job in listed] == ["running"]
            assert (await upload).status == 201
        assert await asyncio.wait_for(server.process.wait(), PATIENCE) == 0
        assert server.files() == ["big", "there"]


@pytest.mark.parametrize("sent", [b"", b"GET /jobs", b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1"])
@pytest.mark.parametrize("earlier", [0, 1], ids=["first request", "second request"])
async def test_a_connection_that_does_not_come_to_its_request_is_closed(root, sent, earlier):
    """However little by little its headers come, they must have come by the deadline. An upload has all its time."""
    async with running(root, "--header-timeout", "0.5") as server:
        upload = asyncio.create_task(
            curl("--limit-rate", "1M", "-F", "file=@-;filename=a", f"{server.url}/upload", stdin=b"x" * 800_000)
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        if earlier:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"alive" in await reader.readuntil(b"}")
        writer.write(sent)

        async def trickle():
            while True:
                await asyncio.sleep(0.05)  # the trickle
                writer.write(b"x" if sent else b"")

        trickling = asyncio.create_task(trickle())
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        trickling.cancel()
        writer.close()
        assert (await upload).status == 201


async def test_over_tls_everything_works_exports_included(root, tmp_path):
    """A file larger than any buffer goes in and out whole; a terminated export is truncated there too."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trusting = ("--cacert", str(tmp_path / "ca.pem"))
    data = os.urandom(5_000_000)
    (tmp_path / "a").write_bytes(data)
    tls = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    async with running(root, "--host", "localhost", *tls) as server:
        assert server.url.startswith("https://localhost:")
        assert (await curl(*trusting, "-F", f"file=@{tmp_path / 'a'}", f"{server.url}/upload")).status == 201
        assert (await curl(*trusting, "-d", "filename=a", f"{server.url}/export")).body == data
        with (root / "big").open("wb") as file:
            file.truncate(2**30)
        export = asyncio.create_task(
            curl(*trusting, "--limit-rate", "5M", "-o", "/dev/null", "-d", "filename=big", f"{server.url}/export")
        )
        for _ in range(500):
            body = json.loads((await curl(*trusting, f"{server.url}/jobs")).body)
            if body["jobs"][0]["state"] == "running":
                break
        assert (await curl(*trusting, "-X", "POST", f"{server.url}/export/terminate")).status == 200
        assert (await export).code == 18
        # Who does not speak TLS is no line of ours.
        assert (await curl(server.url.replace("https", "http") + "/healthz")).code != 0
        _reader, writer = await asyncio.open_connection(*server.url[8:].split(":"), ssl=_no_check())
        writer.close()


def _no_check():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_what_is_not_http_is_one_line_in_the_log(root):
    async with running(root) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rsplit(":", 1)[1]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        await eventually(lambda: "malformed request" in server.log.read_text())
    lines = server.log.read_text().splitlines()
    assert len(lines) == 1, lines


async def test_debug_logs_every_request(root):
    async with running(root, "--log-level", "debug") as server:
        await curl(f"{server.url}/healthz")
        await eventually(lambda: "GET /healthz" in server.log.read_text())


async def test_it_takes_all_the_descriptors_it_may_have(root):
    """Lowered first: where soft and hard are equal it would prove nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        async with running(root) as server:
            assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_the_address_it_prints_can_be_called_over_ipv6_too(root):
    require("IPv6 loopback", IPV6)
    async with running(root, "--host", "::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert (await curl("--globoff", f"{server.url}/jobs")).status == 200


async def test_tokens_and_anonymous_contradict_each_other(root, tmp_path):
    (tmp_path / "tokens").write_text("alice:" + "0" * 64 + "\n")
    arguments = ("--root", str(root), "--tokens", str(tmp_path / "tokens"), "--anonymous")
    code, _, err = await headgate("serve", "--port", FREE, *arguments)
    assert code == 2
    assert "contradict" in err


async def test_a_flag_that_says_no_in_the_environment_means_no(root):
    arguments = ("--host", NO_LOOPBACK, "--port", FREE, "--root", str(root))
    code, _, _ = await headgate("serve", *arguments, environment={"HEADGATE_ANONYMOUS": "no"})
    assert code == 2


async def test_without_tokens_another_hosts_name_is_refused(root):
    """What a page does whose name was rebound to this machine."""
    async with running(root) as server:
        refused = await curl("-H", "Host: evil.example", f"{server.url}/jobs")
        assert (refused.status, json.loads(refused.body)["code"]) == (403, "forbidden")
