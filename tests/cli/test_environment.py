"""What `headgate serve` makes of its environment, and of a tokens file as editors write it."""

import asyncio
import json
import os
import random
import sys
from contextlib import asynccontextmanager

import pytest

from e2e.client.test_client import run
from e2e.conftest import curl, running
from e2e.serve.test_serve import headgate
from headgate.web.middleware.tokens import new_token
from support import PATIENCE, eventually


@asynccontextmanager
async def begun(tmp_path, environment, *arguments):
    """A server of this environment and no other, in a directory of its own; gives it, and its first line: none if it
    was refused."""
    log = tmp_path / "log"
    bare = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headgate", "serve", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=bare | environment,
            cwd=tmp_path,
        )
    try:
        yield process, (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode(), log
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE)


@pytest.mark.parametrize(
    "option", ["ROOT", "HOST", "TOKENS", "PUBLIC_URL", "CORS_ORIGINS", "ANONYMOUS", "TLS_CERT", "TLS_KEY"]
)
async def test_an_empty_variable_is_an_error(tmp_path, option):
    """A script with an empty variable neither serves its current directory nor opens the server to all."""
    # Without it another host would be refused for another reason.
    environment = {"HEADGATE_ANONYMOUS": "yes"} if option == "HOST" else {}
    async with begun(tmp_path, environment | {f"HEADGATE_{option}": ""}, "--port", "0") as (process, line, log):
        assert line == ""
        assert await process.wait() == 2
    said = log.read_text()
    assert f"HEADGATE_{option}" in said
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("variable", ["HEADGATE_URL", "HEADGATE_TOKEN"])
async def test_an_empty_variable_is_one_for_clients_too(root, variable):
    """A command for another server, or by a named user, is not run here without a user."""
    async with running(root) as served:
        code, out, err = await run(served, "jobs", **{variable: ""})
    assert (code, out, variable in err) == (2, "", True)


KUBERNETES = {
    "HEADGATE_PORT": "tcp://10.0.0.7:80",
    "HEADGATE_SERVICE_HOST": "10.0.0.7",
    "HEADGATE_SERVICE_PORT": "80",
    "HEADGATE_SERVICE_PORT_HTTP": "80",
    "HEADGATE_PORT_80_TCP": "tcp://10.0.0.7:80",
    "HEADGATE_PORT_80_TCP_PROTO": "tcp",
    "HEADGATE_PORT_80_TCP_PORT": "80",
    "HEADGATE_PORT_80_TCP_ADDR": "10.0.0.7",
}


def an_own_address():
    """An address on which the usual port is free."""
    return ".".join(map(str, [127, *random.choices(range(2, 250), k=3)]))


async def test_what_kubernetes_says_of_a_service_called_headgate_is_no_option(tmp_path):
    """It serves on its own port, and warns of the one variable that looks like an option."""
    host = an_own_address()
    async with begun(tmp_path, KUBERNETES, "--host", host) as (_, line, log):
        assert line.startswith(f"headgate: http://{host}:8080/ "), log.read_text()
        said = log.read_text()
    (warning,) = [each for each in said.splitlines() if "HEADGATE_PORT" in each]
    assert "warning" in warning.lower()


async def test_a_port_that_is_none_is_an_error_all_the_same(tmp_path):
    """Only what looks like Kubernetes' own is passed over; and what it says is warned of."""
    for port in ("tcp:80", "http://10.0.0.7:80", "tcp://10.0.0.7"):
        async with begun(tmp_path, {"HEADGATE_PORT": port}) as (process, line, _):
            assert (line, await process.wait()) == ("", 2), port
    async with begun(tmp_path, {"HEADGATE_PORT": "tcp://10.0.0.7:80"}, "--port", "0") as (_, line, log):
        assert line
        assert "HEADGATE_PORT" in log.read_text()


async def test_a_variable_that_nobody_knows_is_warned_of(tmp_path):
    """By its name alone, its value may be a secret; those of the command line are known."""
    environment = {
        "HEADGATE_MAX_FILESIZE": "hidden-1",
        "HEADGATE_Quota": "hidden-2",
        "HEADGATE_URL": "http://127.0.0.1:1",
        "HEADGATE_TOKEN": "hidden-3",
        "HEADGATE_QUOTA": "1GB",
    }
    async with begun(tmp_path, environment, "--port", "0") as (_, line, log):
        assert line
        await eventually(lambda: "HEADGATE_MAX_FILESIZE" in log.read_text(), "a warning")
        said = log.read_text()
    assert "warning" in said.lower()
    assert "hidden" not in said
    for known in ("HEADGATE_URL", "HEADGATE_TOKEN", "HEADGATE_QUOTA"):
        assert known not in said


@pytest.mark.parametrize("first", ["", "# who may come in\n"], ids=["a user", "a comment"])
async def test_a_byte_order_mark_is_nobodys_name(root, tmp_path, first):
    """Windows' editors write one at the beginning of a file."""
    token, line = new_token("alice")
    (tmp_path / "tokens").write_text(f"{first}{line}\n".replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    (tmp_path / "tokens").chmod(0o600)
    async with running(root, "--tokens", str(tmp_path / "tokens")) as server:
        answer = await curl("-H", f"Authorization: Bearer {token}", f"{server.url}/session")
        assert json.loads(answer.body)["user"]["name"] == "alice"


async def test_a_file_of_a_mark_alone_holds_no_user(root, tmp_path):
    (tmp_path / "tokens").write_bytes(b"\xef\xbb\xbf\r\n")
    code, _, err = await headgate("serve", "--port", "0", "--root", str(root), "--tokens", str(tmp_path / "tokens"))
    assert (code, "holds no user" in err) == (2, True), err
