"""HTTP as bytes: what tests send over a socket, and what they read."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

from processes import Service

from credit_risk_model.examples import EXAMPLE_LOAN

PREDICTION = "/api/models/credit_risk_model/prediction"
LOAN = json.dumps(EXAMPLE_LOAN).encode()
JSON = {"Content-Type": "application/json"}
LENGTH = f"Content-Length: {len(LOAN)}"
CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"%x\r\n%s\r\n" % (len(LOAN), LOAN)
HEALTH = b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n"
OPENAPI = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
HALF_SENT = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()


@dataclass(frozen=True)
class Answer:
    """A whole answer of the service; status 0 where it closed the connection without one."""

    status: int
    headers: dict[str, str]
    content: bytes


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Give a request of just these lines; they are sent as Latin-1, so that any byte can stand in them."""
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1") + body


def post(body: bytes, path: str = PREDICTION, content_type: str = "application/json") -> bytes:
    """Give a well-formed request with a body."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def predict_with(*headers: str, body: bytes = LOAN, line: str = f"POST {PREDICTION} HTTP/1.1") -> bytes:
    """Give a prediction's request with other headers than it should have."""
    return request(line, "Host: x", *headers, body=body)


@contextmanager
def connected(service: Service, sent: bytes = b"", seconds: float = 20) -> Iterator[socket.socket]:
    """A connection on which something was sent; reading waits for some seconds at most."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=seconds) as connection:
        connection.sendall(sent)
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """What comes until the service closes its side."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def exchange(service: Service, request: bytes) -> bytes:
    """Send raw bytes, and read until the service closes."""
    with connected(service, request) as connection:
        return rest_of(connection)


def one_answer(connection: socket.socket) -> bytes:
    """An answer with its body, of a connection that stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(65536)
        assert part, received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        part = connection.recv(65536)
        assert part, f"{len(body)} of {length} bytes of a body"
        body += part
    return head + b"\r\n\r\n" + body


def refusal(answer: bytes) -> tuple[int, str, dict[bytes, bytes]]:
    """Status, type and headers of an answer in the one shape of errors."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.split(b"\r\n")
    error = json.loads(body)
    assert error.keys() == {"type", "messages"}
    return int(status.split()[1]), error["type"], dict(line.lower().split(b": ", 1) for line in headers)


def open_files(service: Service) -> int:
    """How many files the process has open."""
    return len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))


def wait_for_closed(service: Service, files: int, seconds: float = 5) -> None:
    """Wait until the process has no more files open than these."""
    deadline = time.monotonic() + seconds
    while open_files(service) > files and time.monotonic() < deadline:
        time.sleep(0.1)
    assert open_files(service) <= files


def receive(connection: socket.socket, method: str = "POST") -> Answer:
    """Read one answer."""
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        content = response.read()
    except ConnectionError:
        return Answer(0, {}, b"")
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)


def send(service: Service, sent: bytes) -> Answer:
    """Send bytes on a connection of their own and give the answer, which may come before all of them are sent."""
    with connected(service) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
        return receive(connection, "HEAD" if sent.startswith(b"HEAD") else "POST")


GOOD = post(LOAN)


def check_it_serves(service: Service) -> None:
    """A good loan is answered, and the probe within a second."""
    assert send(service, post(LOAN)).status == 200
    began = time.monotonic()
    assert service.get("/api/health")[0] == 200
    assert time.monotonic() - began < 1


def fill(connection: socket.socket, port: int, pause: float = 0.3) -> None:
    """Ask for more than the sockets between have room for: 200 times 17 kB, no more than 128 of which may wait."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.settimeout(10)
    for number in (120, 80):
        connection.sendall(OPENAPI * number)
        time.sleep(pause)
