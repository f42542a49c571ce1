"""The architecture, held: imports run one way, and every room has one door."""

import ast
from pathlib import Path, PurePosixPath

import pytest

import headgate

SOURCE = Path(headgate.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

#: Each room, and what it may import of headgate. Data runs web -> transfer -> jobs + storage; the rest is below all.
MAY = {
    "errors": set(),
    "lowlevel": set(),
    "config": {"errors"},
    "names": {"errors"},
    "units": set(),
    "wire": {"errors"},
    "jobs": {"errors", "lowlevel"},
    "storage": {"errors", "config", "names", "lowlevel", "units"},
    "transfer": {"errors", "lowlevel", "units", "config", "names", "wire", "jobs", "storage"},
    "resumable": {"errors", "lowlevel", "units", "config", "names", "wire", "jobs", "storage", "transfer"},
    "web": {"errors", "config", "names", "units", "wire", "jobs", "storage", "transfer", "resumable"},
    "app": {"errors", "config", "jobs", "storage", "transfer", "resumable", "web"},
    "http1": {"errors", "config", "transfer"},
    "cli": {"errors", "config", "names", "units", "web", "app", "http1"},
    "early": set(),
    "__init__": {"early", "errors", "config", "jobs", "storage", "transfer", "web", "app"},
    "__main__": {"cli"},
}

#: The rooms, or files, that may know aiohttp.
KNOW_AIOHTTP = {
    "web",
    "app",
    "cli",
    "http1",
    "transfer/inbound",
    "transfer/outbound",
    "transfer/watchdog",
}


def where(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").as_posix()


def imports(path: Path):
    """Every module that the file imports, at any depth in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=where)
def test_imports_run_one_way(path):
    """A file imports only what lies below its room, or beside it in the same room."""
    room = where(path).split("/")[0]
    for module in imports(path):
        if module.split(".")[0] == "headgate":
            target = module.split(".")[1]
            assert target == room or target in MAY[room], f"{where(path)} may not import {module}"


@pytest.mark.parametrize("path", FILES, ids=where)
def test_only_the_rooms_of_http_know_aiohttp(path):
    if "aiohttp" in {module.split(".")[0] for module in imports(path)}:
        assert any(room in KNOW_AIOHTTP for room in (where(path), *map(str, PurePosixPath(where(path)).parents)))


@pytest.mark.parametrize("path", FILES, ids=where)
def test_every_room_has_one_door(path):
    """A file that defines anything says in `__all__` what of it is for others, all of which exists."""
    tree = ast.parse(path.read_text())
    defined = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    exported = [node for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"]
    if defined:
        assert len(exported) == 1
    if exported:
        names = ast.literal_eval(exported[0].value)
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("path", FILES, ids=where)
def test_a_file_opens_with_its_rules_and_stays_a_room(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "a file opens with what it is for"
    assert text.count("\n") <= 300, "over 300 lines it is asking to be two"


def test_what_the_door_promises_is_there():
    for name in headgate.__all__:
        assert getattr(headgate, name) is not None
