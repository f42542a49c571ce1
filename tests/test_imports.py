"""The architecture, held: imports run one way, and every room has one door."""

import ast
import importlib
import inspect
import textwrap
from pathlib import Path, PurePosixPath

import pytest

import headgate

SOURCE = Path(headgate.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

#: Each room, and what it may import of headgate. Data runs web -> transfer -> jobs + storage; the rest is below all.
MAY = {
    "errors": set(),
    "lowlevel": {"errors"},
    "config": {"errors"},
    "names": {"errors"},
    "wire": {"errors"},
    "jobs": {"errors", "lowlevel"},
    "events": {"jobs"},
    "cluster": {"errors", "jobs", "events"},
    "storage": {"errors", "config", "names", "lowlevel"},
    "transfer": {"errors", "lowlevel", "config", "names", "wire", "jobs", "events", "storage"},
    "resumable": {
        *("errors", "lowlevel", "config", "names", "wire", "jobs", "events", "cluster", "storage", "transfer")
    },
    "web": {
        *("errors", "lowlevel", "config", "names", "wire", "jobs", "events", "cluster"),
        *("storage", "transfer", "resumable"),
    },
    "app": {"errors", "lowlevel", "config", "jobs", "events", "cluster", "storage", "transfer", "resumable", "web"},
    "http1": {"errors", "lowlevel", "config", "transfer"},
    "cli": {"errors", "lowlevel", "config", "names", "web", "app", "http1"},
    "__init__": {
        *("errors", "lowlevel", "config", "names", "jobs", "events", "cluster", "storage", "transfer", "web"),
        "app",
    },
    "__main__": {"cli"},
}

#: The rooms, or files, that may know aiohttp.
KNOW_AIOHTTP = {
    "web",
    "app",
    "cli",
    "http1",
    "lowlevel/aiohttp_internals",
    "lowlevel/aiohttp_check",
    "transfer/inbound",
    "transfer/outbound",
    "transfer/watchdog",
}

#: The files that may touch private names of other packages.
TOUCH_PRIVATE_NAMES = {"lowlevel/aiohttp_internals", "lowlevel/aiohttp_check"}

#: Documented, in spite of its name.
PUBLIC = {"JobInfo._fields", "seen._replace", "os._exit"}


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


#: What may be added to a word so that it is mistaken for the word without it.
ENDINGS = ("ations", "ation", "ings", "ing", "ions", "ion", "ers", "er", "ed", "es", "s", "e")


def without_ending(name):
    return next(
        (name.removesuffix(each) for each in ENDINGS if name.endswith(each) and len(name) > len(each) + 2), name
    )


def test_no_two_names_of_files_and_folders_differ_by_an_ending():
    """A stranger who has read one name is not sent to another. A job is the main thing in the room of jobs."""
    paths = [path for path in SOURCE.rglob("*") if "__pycache__" not in path.parts]
    by_stem = {}
    for name in {path.name.partition(".")[0] for path in paths} - {"job"}:
        by_stem.setdefault(without_ending(name), []).append(name)
    assert [names for names in by_stem.values() if len(names) > 1] == []


def test_what_the_door_promises_is_there():
    for name in headgate.__all__:
        assert getattr(headgate, name) is not None


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def own_private_names(tree):
    """The private names that a file defines itself, be it in a class, its slots or its methods."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
            case ast.Attribute(ctx=ast.Store(), value=ast.Name("self" | "cls")):
                yield node.attr
            case ast.Name(ctx=ast.Store()):
                yield node.id


@pytest.mark.parametrize("path", FILES, ids=where)
def test_private_names_of_other_packages_are_touched_in_one_place(path):
    """Not by attribute, by `getattr` or by import: what has no promise is in lowlevel/aiohttp_internals.py."""
    if where(path) in TOUCH_PRIVATE_NAMES:
        return
    tree = ast.parse(path.read_text())
    own = set(own_private_names(tree))
    for node in ast.walk(tree):
        name = of = None
        match node:
            case ast.Attribute(value=ast.Name("self" | "cls")):
                continue
            case ast.Attribute():
                name, of = node.attr, ast.unparse(node)
            case ast.Call(ast.Name("getattr" | "hasattr" | "setattr"), [_, ast.Constant(str(name)), *_]):
                of = ast.unparse(node)
            case ast.ImportFrom(module, names) if module.split(".")[0] != "headgate":
                name = next((alias.name for alias in names if is_private(alias.name)), None)
                of = f"import {name}"
        assert name is None or not is_private(name) or name in own or of in PUBLIC, f"line {node.lineno}: {of}"


def foreign_private_names(cls):
    """The private names of those bases of `cls` that are not headgate's."""
    for base in cls.__mro__:
        if base.__module__.split(".")[0] in ("headgate", "builtins"):
            continue
        yield from vars(base)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        except (OSError, TypeError):  # it is not written in Python
            continue
        yield from own_private_names(tree)


@pytest.mark.parametrize("path", FILES, ids=where)
def test_a_class_derived_from_another_packages_has_private_names_of_its_own(path):
    """Neither using one of its base nor, by accident, hiding one."""
    if where(path) in TOUCH_PRIVATE_NAMES:
        return
    module = importlib.import_module(".".join(("headgate", *where(path).split("/"))).removesuffix(".__init__"))
    for cls in vars(module).values():
        if not inspect.isclass(cls) or cls.__module__ != module.__name__:
            continue
        foreign = set(foreign_private_names(cls))
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(cls)))):
            match node:
                case ast.Attribute(value=ast.Name("self" | "cls") | ast.Call(ast.Name("super"))):
                    assert not is_private(node.attr) or node.attr not in foreign, f"{cls.__name__}.{node.attr}"
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    assert not is_private(node.name) or node.name not in foreign, f"{cls.__name__}.{node.name}"
