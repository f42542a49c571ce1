"""A process that has everything imported, and forks servers: real ones, each a process of its own, in milliseconds.

It reads lines of JSON from its standard input: the arguments of ``headgate``, and where its log goes. For each it forks
a child, writes the child's pid as a line, and the child writes its own ready line after it. For every second one, what
is received straight from sockets, into blocks that the disk takes by itself, is small enough for the tests to meet it.
"""

import json
import os
import signal
import sys
from typing import Any

import headgate.cli
from headgate.storage.local.incoming import staged_file as staged
from headgate.transfer.inbound import direct


def run(arguments: list[str], log: str, *, in_blocks: bool) -> Any:
    """In the child: become the server."""
    if in_blocks:
        direct.DIRECT_FROM_BYTES, direct.FAST_READ_BYTES = 1000, 1
        direct.MIN_SHARE_BYTES, direct.BLOCK_BYTES = 8192, 65536
        staged.DIRECT_WRITE_BYTES = 8192
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return headgate.cli.main(arguments)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for number, line in enumerate(iter(sys.stdin.readline, "")):
        arguments, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = run(arguments, log, in_blocks=number % 2 == 1)
            finally:
                os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
