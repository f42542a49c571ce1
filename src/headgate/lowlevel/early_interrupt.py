"""Ctrl-C while the command line is still importing its modules ends it without a traceback.

Python would show in which module it was. Only the command ``headgate`` is changed, not a service that imports it; so
importing this module first has an effect, and it exports nothing.
"""

import signal
import sys
from pathlib import PurePath

__all__ = ()


def _is_the_command() -> bool:
    words = sys.orig_argv[1:]
    module = words[words.index("-m") + 1 : words.index("-m") + 2] if "-m" in words else []
    return module == ["headgate"] or (bool(sys.argv) and PurePath(sys.argv[0]).name == "headgate")


if _is_the_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
