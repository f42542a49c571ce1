"""The least that moving bytes between a socket and a file costs in Python: no event loop, no parser, no promises.

PUT or POST: the body is received into one buffer of 1 MiB and written from it. GET: sendfile. Each connection has a
thread and its buffer. ``floor.py ROOT PORT``
"""

import os
import socket
import sys
import threading
from pathlib import Path

MIB = 1024 * 1024


def main(root: Path, port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), reuse_port=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock, root), daemon=True).start()


def serve(sock: socket.socket, root: Path) -> None:
    """Requests, one after the other, until the client hangs up."""
    buffer = memoryview(bytearray(MIB))
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while got := sock.recv_into(buffer):
            while b"\r\n\r\n" not in bytes(buffer[:got]):
                more = sock.recv_into(buffer[got:])
                if not more:
                    return
                got += more
            head, _, body = bytes(buffer[:got]).partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            method, target, _ = lines[0].split()
            headers = dict(line.lower().split(": ", 1) for line in lines[1:])
            path = root / target.rpartition("/")[2]
            if method == "GET":
                give(sock, path)
            else:
                take(sock, path, body, int(headers["content-length"]), buffer)


def take(sock: socket.socket, path: Path, body: bytes, length: int, buffer: memoryview) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(fd, body)
    left = length - len(body)
    while left:
        got = sock.recv_into(buffer)
        if not got:
            break
        os.write(fd, buffer[:got])
        left -= got
    os.close(fd)
    sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")


def give(sock: socket.socket, path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    size = os.fstat(fd).st_size
    sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
    sent = 0
    while sent < size:
        sent += os.sendfile(sock.fileno(), fd, sent, size - sent)
    os.close(fd)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
