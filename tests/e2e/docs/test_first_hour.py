"""The README can be followed by a user who makes the usual mistakes, and again the next day."""

import re
import socket

import pytest

from e2e.docs.test_readme import HOME, README
from e2e.serve.test_serve import headgate

MAKEFILE = (HOME / "Makefile").read_text()


def test_no_line_of_the_readme_replaces_the_editable_install():
    """`make run` brings the command line with it; there is nothing to install afterwards."""
    installs = [line for line in README.splitlines() if re.search(r"pip install\b.*['\"]?\.(\[|['\"]?$)", line)]
    assert [line for line in installs if "--editable" not in line and " -e " not in line] == []
    (recipe,) = re.findall(r"^\$\(VENV\)/\.base:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert re.search(r"--editable '?\.\[(\w+,)*cli(,\w+)*\]", recipe), recipe


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_port_that_is_taken_is_told_with_the_way_out(root, host):
    """A sentence that names the port and the option, and no number of an error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, out, err = await headgate("serve", "--host", host, "--port", port, "--root", str(root))
    assert (code, out, len(err.splitlines())) == (1, "", 1), err
    assert port in err
    assert "--port" in err
    assert "Errno" not in err
