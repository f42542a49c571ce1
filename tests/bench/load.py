"""The clients: plain sockets, as cheap as Python can have them, so that the server is what is measured."""

import random
import selectors
import socket
import ssl
from collections.abc import Iterable

__all__ = ["BLOCK", "MIB", "Client", "Failed", "Sink", "connect", "exchange", "multipart", "pipeline", "request"]

MIB = 1024 * 1024

#: What is uploaded, again and again: no text and no zeros, for parsers search it for line breaks.
BLOCK = random.Random(1).randbytes(MIB)

#: Bytes up to which a message is sent by one call, its body together with its head.
TOGETHER = 256 * 1024

BOUNDARY = "----headgate-bench-7d1c2f9ab3e4"


class Failed(Exception):
    """A server did not do its work."""


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def request(method: str, target: str, headers: dict[str, object] | None = None) -> bytes:
    """The head of a request."""
    fields = {"Host": "127.0.0.1", **(headers or {})}
    return "\r\n".join([f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]).encode()


def multipart(target: str, name: str, size: int) -> tuple[bytes, bytes]:
    """The head of a request with a form of one file of `size` bytes, as far as the file begins; and what follows it."""
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    begin = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": len(begin) + size + len(end),
    }
    return request("POST", target, headers) + begin, end


def send(sock: socket.socket, head: bytes, size: int, end: bytes = b"") -> None:
    """`head`, `size` bytes of `BLOCK`, and `end`."""
    sock.sendall(head)
    block = memoryview(BLOCK)
    for start in range(0, size, MIB):
        sock.sendall(block[: size - start])
    if end:
        sock.sendall(end)


class Sink:
    """Reads answers, one after the other, and drops their bodies."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = memoryview(bytearray(MIB))

    def answer(self) -> tuple[int, dict[str, str], int]:
        """Status, headers, and bytes of the body."""
        data = b""
        while b"\r\n\r\n" not in data:
            got = self._sock.recv(65536)
            if not got:
                raise Failed("hung up without an answer")
            data += got
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines[1:])}
        status = int(lines[0].split()[1])
        if status == 100:
            return self.answer()
        return status, headers, self._drop(headers, body)

    def _drop(self, headers: dict[str, str], body: bytes) -> int:
        size = len(body)
        if headers.get("transfer-encoding") == "chunked":
            tail = body[-5:]
            while tail != b"0\r\n\r\n":
                got = self._sock.recv_into(self._buffer)
                if not got:
                    raise Failed("hung up in the middle of a body")
                size += got
                tail = (tail + bytes(self._buffer[max(0, got - 5) : got]))[-5:]
            return size
        while size < int(headers.get("content-length", 0)):
            got = self._sock.recv_into(self._buffer)
            if not got:
                raise Failed("hung up in the middle of a body")
            size += got
        return size


def exchange(port: int, head: bytes, size: int = 0, end: bytes = b"") -> tuple[dict[str, str], int]:
    """One request on a connection of its own. Returns the answer's headers and the bytes of its body. Raises Failed
    unless all went well."""
    with connect(port) as sock:
        send(sock, head, size, end)
        status, headers, received = Sink(sock).answer()
    if not 200 <= status < 300:
        raise Failed(f"status {status}")
    return headers, received


class Client:
    """One after the other, requests on one connection, for as long as the server keeps it; with TLS, if it is to be.

    Whom the certificate is for is not looked at: the client's own work does not count.
    """

    def __init__(self, port: int, *, tls: bool = False) -> None:
        self._port, self._tls = port, tls
        self._sock: socket.socket | None = None
        self._sink: Sink | None = None

    def ask(self, head: bytes, size: int = 0, end: bytes = b"") -> int:
        """Send a message with `size` bytes in its body; return how many came in answer. Raises Failed unless all went
        well."""
        if self._sock is None or self._sink is None:
            self._sock = self._connect()
            self._sink = Sink(self._sock)
        if size <= TOGETHER:
            self._sock.sendall(head + BLOCK[:size] + end)
        else:
            send(self._sock, head, size, end)
        status, headers, received = self._sink.answer()
        if not 200 <= status < 300:
            raise Failed(f"status {status}")
        if headers.get("connection") == "close":
            self.close()
        return received

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock = self._sink = None

    def _connect(self) -> socket.socket:
        sock = connect(self._port)
        if not self._tls:
            return sock
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(sock)


def pipeline(port: int, connections: int, requests: Iterable[bytes], *, keep: bool = True) -> int:
    """Send `requests`, each on the first of so many connections whose last answer has come; return how many were
    answered well. Answers must be short and tell their length. `keep`: connections serve many requests."""
    waiting = iter(requests)
    done = 0
    with selectors.EpollSelector() as selector:

        def begin(sock: socket.socket | None) -> None:
            message = next(waiting, None)
            if message is None:
                if sock is not None:
                    sock.close()
                return
            if sock is None:
                sock = connect(port)
            sock.sendall(message)
            selector.register(sock, selectors.EVENT_READ, bytearray())

        for _ in range(connections):
            begin(None)
        while selector.get_map():
            for key, _ in selector.select():
                sock: socket.socket = key.fileobj  # type: ignore[assignment]  # we registered nothing else
                data: bytearray = key.data
                got = sock.recv(65536)
                data += got
                if got and not _is_whole(data):
                    continue
                selector.unregister(sock)
                status = int(data[9:12] or 0)
                if not 200 <= status < 300:
                    raise Failed(f"status {status}")
                done += 1
                if not got or not keep or b"\r\nconnection: close" in data.lower():
                    sock.close()
                    begin(None)
                else:
                    begin(sock)
    return done


def _is_whole(answer: bytearray) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return body.endswith(b"0\r\n\r\n")
    _, found, length = lower.partition(b"content-length:")
    return len(body) >= (int(length.split(b"\r\n")[0]) if found else 0)
