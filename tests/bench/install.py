"""What the yardsticks need that PyPI does not have: had by name, or left out by name."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from e2e.npm import packages

__all__ = ["YARDSTICKS", "Missing", "nginx", "node"]

YARDSTICKS = Path(__file__).with_name("yardsticks")

#: Packages live beside the virtual environment's own, so that ``make clean`` takes them with it.
PACKAGES = Path(sys.prefix) / "bench-node"


class Missing(Exception):
    """Something that this machine does not have."""


@cache
def nginx() -> str:
    """The program; installed if this user may install it. Raises Missing."""
    search = os.environ.get("PATH", "") + ":/usr/sbin"
    if not shutil.which("nginx", path=search) and os.getuid() == 0 and shutil.which("apt-get"):
        for command in (("update", "-qq"), ("install", "-y", "-qq", "--no-install-recommends", "nginx-light")):
            subprocess.run(("apt-get", *command), capture_output=True, check=False)
    return shutil.which("nginx", path=search) or _missing("nginx (Debian: nginx-light)")


@cache
def node(script: str) -> list[str]:
    """The command that runs one of the scripts. Raises Missing."""
    for part in ("node", "npm"):
        if not shutil.which(part):
            _missing(part)
    PACKAGES.mkdir(exist_ok=True)
    try:
        packages(YARDSTICKS / "node", PACKAGES)
    except AssertionError as error:
        _missing(f"packages from npm: {error}")
    return ["node", str(PACKAGES / script)]


def _missing(what: str) -> str:
    raise Missing(f"this machine has no {what}")
