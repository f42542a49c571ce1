"""The command line. ``serve`` and ``token`` come with the base install; the commands of a client need the extra cli."""

import sys
from collections.abc import Sequence

from headgate.cli.server import argument_parser

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in argument_parser.COMMANDS:
        return argument_parser.main(argv)
    try:
        # Imported here: a server needs neither click nor rich, and may not have them.
        from headgate.cli.client import commands
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        print("headgate: commands other than serve and token need: pip install 'headgate[cli]'", file=sys.stderr)
        return argument_parser.main(argv)
    return commands.main(argv)
