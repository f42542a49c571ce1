"""What making small files durable under their names costs on this disk, one after the other: no network, no parser.

Each request is answered when `COUNT` files are. ``fsyncs.py ROOT PORT``
"""

import os
import socket
import sys
from itertools import count
from pathlib import Path

__all__ = ["COUNT", "SIZE"]

COUNT, SIZE = 1000, 4096


def make(root: int, staging: int, name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=staging)
    os.write(fd, data)
    os.fsync(fd)
    os.link(name, name, src_dir_fd=staging, dst_dir_fd=root)
    os.fsync(root)
    os.unlink(name, dir_fd=staging)
    os.close(fd)


def main(path: Path, port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port))
    (path / ".staging").mkdir()
    root, staging = (os.open(each, os.O_RDONLY) for each in (path, path / ".staging"))
    numbers, data = count(), os.urandom(SIZE)
    while True:
        sock, _ = listener.accept()
        with sock:
            if sock.recv(65536):
                for _ in range(COUNT):
                    make(root, staging, f"file-{next(numbers)}", data)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
