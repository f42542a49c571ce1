"""What the README writes, and what the documentation allows, passes mypy --strict in the host's own program."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import headgate
from support import require

BIN = Path(sys.executable).parent
SOURCE = Path(headgate.__file__).parents[1]

HEAD = """
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web
from headgate import Config, create_app

"""

PROGRAMS = {
    "a root that is text": 'config = Config(root="uploads")\n',
    "an export that is an iterator": """
async def orders(request: web.Request) -> AsyncIterator[bytes]:
    yield b"id"

app = create_app(Config(root=Path("uploads")), exports={"orders.csv": orders})
""",
    "an export that gives an iterator of its own": """
class Rows:
    def __aiter__(self) -> "Rows":
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

def orders(request: web.Request) -> AsyncIterator[bytes]:
    return Rows()

app = create_app(Config(root=Path("uploads")), exports={"orders.csv": orders})
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_the_host_is_well_typed(tmp_path, name):
    """As a type checker sees it, strictly."""
    mypy = shutil.which("mypy", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    require("mypy", mypy is not None)
    (tmp_path / "program.py").write_text(HEAD + PROGRAMS[name])
    done = subprocess.run(
        [mypy, "--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"), "program.py"],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
