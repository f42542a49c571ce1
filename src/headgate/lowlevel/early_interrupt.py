"""Ctrl-C while the command line's modules are still being loaded ends it without a word, as it ends other programs.

Python would show where in which module it was. A service that imports headgate is not concerned: only the command is.
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
