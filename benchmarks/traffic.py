"""Sends mixed traffic, good and bad, from a separate process, so that it does not slow its observer down.

    python -m benchmarks.traffic PORT SECONDS

Each client is a thread that repeats one action. Prints, as JSON, the number of outcomes of each kind of client;
unexpected outcomes are spelled out.
"""

import itertools
import json
import random
import re
import resource
import socket
import struct
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.processes import BATCH, EXPLANATION, PREDICTION
from benchmarks.serving import known_loans
from credit_risk_model.archive import GOLDEN_TOLERANCE

SHED = "503, to come back"
_MAX_WAIT = 30
_PIPELINED = 20
_HELD = 1100  # a hundred more than the service accepts by default
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")

Loans = list[tuple[dict[str, Any], float]]
Client = Callable[[int, Loans], Iterator[str]]


class Connection:
    """A connection that opens on first use, and reopens after the service has closed it."""

    def __init__(self, port: int) -> None:
        """Connect later."""
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Send a request; return the response's status, head and content.

        Raises:
            OSError: The request was lost: sent, but not completely answered.
        """
        if self._socket is None:
            self._socket = connect(self._port)
        try:
            self._socket.sendall(request)
            received = b""
            while (end := received.find(b"\r\n\r\n")) < 0:
                received += _more(self._socket)
            head, content = received[: end + 2].lower(), received[end + 4 :]
            stated = _LENGTH.search(head)
            while stated and len(content) < int(stated[1]):
                content += _more(self._socket)
        except OSError:
            self._close()
            raise
        if b"\r\nconnection: close\r\n" in head:
            self._close()
        return int(head[9:12]), head, content

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(1 << 20)
    if not part:
        raise ConnectionResetError("closed before the answer was whole")
    return part


def connect(port: int) -> socket.socket:
    """Open a connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=_MAX_WAIT)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Make a prediction's request."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _outcome(answer: tuple[int, bytes, bytes]) -> str:
    status, head, _ = answer
    return SHED if status == 503 and b"\r\nretry-after: " in head else str(status)


def _checked(answer: tuple[int, bytes, bytes], expected: list[float]) -> str:
    """Return the outcome, with the probability if it is wrong."""
    outcome = _outcome(answer)
    if outcome == "200":
        found = json.loads(answer[2])
        loans = found.get("predictions", [found])
        for loan, probability in zip(loans, expected, strict=True):
            if abs(loan["risk_probability"] - probability) > GOLDEN_TOLERANCE:
                return f"wrong: {loan['risk_probability']}, not {probability}"
    return outcome


def predictions(port: int, loans: Loans) -> Iterator[str]:
    """Request predictions of the known loans, one after the other."""
    requests = [(post(PREDICTION, json.dumps(loan).encode()), [probability]) for loan, probability in loans]
    yield from _ask_and_check(Connection(port), requests)


def explanations(port: int, loans: Loans) -> Iterator[str]:
    """Request explanations of the known loans."""
    requests = [
        (post(EXPLANATION, json.dumps({**loan, "max_reasons": 22}).encode()), [probability])
        for loan, probability in loans
    ]
    yield from _ask_and_check(Connection(port), requests)


def batches(port: int, loans: Loans) -> Iterator[str]:
    """Request the known loans in batches: a thousand at a time, and all of them once."""
    requests = []
    for many in ((loans * 1000)[:1000], loans):
        body = json.dumps({"loans": [loan for loan, _ in many]}).encode()
        requests.append((post(BATCH, body), [probability for _, probability in many]))
    yield from _ask_and_check(Connection(port), requests, pause=0.05)


def _ask_and_check(
    connection: Connection, requests: list[tuple[bytes, list[float]]], pause: float = 0
) -> Iterator[str]:
    for request, expected in itertools.cycle(requests):
        yield _checked(connection.ask(request), expected)
        time.sleep(pause)


def bad(port: int, loans: Loans) -> Iterator[str]:
    """Send invalid requests in rotation; each must get its own status."""
    loan = loans[0][0]
    # The most expensive request that is validated, and one that is refused before validation.
    unknown, too_many = (",".join(f'"{number}":0' for number in range(count)) for count in (19_900, 80_000))
    refused = [
        (post(PREDICTION, b"{"), 400),
        (post(PREDICTION, b"[" * 50_000), 400),
        (post(PREDICTION, json.dumps({**loan, "term": "x" * 1000, "more": None}).encode()), 400),
        (post(PREDICTION, b"{}"), 400),
        (post(EXPLANATION, b"{}"), 400),
        (post(BATCH, b'{"loans":[' + b",".join([b"{}"] * 1000) + b"]}"), 400),
        (post(BATCH, b'{"loans":[' + b",".join([b"{}"] * 300_000) + b"]}"), 400),
        (post(BATCH, f'{{"loans":[{{{unknown}}}]}}'.encode()), 400),
        (post(BATCH, f'{{"loans":[{{{too_many}}}]}}'.encode()), 400),
        (post(PREDICTION, b"a=b", "Content-Type: application/x-www-form-urlencoded"), 415),
        (post("/api/models/unknown/prediction", b"{}"), 404),
        (post("/api/health", b"{}"), 405),
        (b"no HTTP\r\n\r\n", 400),
        (post(PREDICTION, b" " * 200_000), 413),
        (post(BATCH, b" " * 2_000_000), 413),
    ]
    connection = Connection(port)
    for request, status in itertools.cycle(refused):
        outcome = _outcome(connection.ask(request))
        yield "refused" if outcome == str(status) else outcome
        time.sleep(0.02)


def slow(port: int, loans: Loans) -> Iterator[str]:
    """Send a body byte by byte, until the service times out."""
    request = post(PREDICTION, json.dumps(loans[0][0]).encode())
    head = len(request) - 400
    while True:
        with connect(port) as connection:
            connection.sendall(request[:head])
            connection.settimeout(0.5)
            for byte in request[head:]:
                connection.sendall(bytes([byte]))
                try:
                    yield connection.recv(65536)[9:12].decode()
                    break
                except TimeoutError:
                    continue


def half_sent(port: int, loans: Loans) -> Iterator[str]:
    """Start as many bodies as may arrive at once, and never finish them."""
    request = post(PREDICTION, json.dumps(loans[0][0]).encode())
    while True:
        with ExitStack() as stack:
            connections = [stack.enter_context(connect(port)) for _ in range(64)]
            for connection in connections:
                connection.sendall(request[: request.index(b"\r\n\r\n") + 5])
            for connection in connections:
                yield connection.recv(65536)[9:12].decode()


def pipelining(port: int, loans: Loans) -> Iterator[str]:
    """Send the most expensive request twenty times before reading the first response."""
    unknown = ",".join(f'"{number}":0' for number in range(48)).encode()
    requests = [
        b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/models/credit_risk_model/metadata HTTP/1.1\r\nHost: x\r\n\r\n",
        post(PREDICTION, b"{" + unknown + b"}"),
        post(PREDICTION, b'{"term":' + b'"x",' * 15_000 + b"}"),
    ]
    for request in itertools.cycle(requests):
        with connect(port) as connection:
            connection.sendall(request * _PIPELINED)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while part := connection.recv(1 << 20):
                received += part
        yield "answered" if received.count(b"HTTP/1.1 ") == _PIPELINED else f"{len(received)} bytes"
        time.sleep(0.05)


def reopening(port: int, _: Loans) -> Iterator[str]:
    """Hold more connections than allowed without a request, and keep opening new ones."""
    held: deque[socket.socket] = deque()
    try:
        while True:
            held.append(connect(port))
            if len(held) > _HELD:
                held.popleft().close()
            yield "opened"
            time.sleep(0.002)
    finally:
        for connection in held:
            connection.close()


def patient(port: int, _: Loans) -> Iterator[str]:
    """Keep a connection and send two requests per second, as a proxy's pool does."""
    connection = Connection(port)
    while True:
        yield str(connection.ask(b"GET /api/models HTTP/1.1\r\nHost: x\r\n\r\n")[0])
        time.sleep(0.5)


def silent(port: int, _: Loans) -> Iterator[str]:
    """Connect and send nothing, until the service closes."""
    while True:
        with connect(port) as connection:
            yield "closed" if not connection.recv(65536) else "answered"


def deaf(port: int, _: Loans) -> Iterator[str]:
    """Request megabytes and read nothing."""
    paths = ("/openapi.json", "/docs/assets/swagger-ui-bundle.js", "/metrics")
    for path in itertools.cycle(paths):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 120
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", port))
            connection.sendall(request)
            time.sleep(10)
        yield "given up"


def vanishing(port: int, loans: Loans) -> Iterator[str]:
    """Reset the connection at a random point of a request or its response."""
    loan = loans[0][0]
    requests = [
        post(PREDICTION, json.dumps(loan).encode()),
        post(EXPLANATION, json.dumps(loan).encode()),
        post(BATCH, json.dumps({"loans": [loan] * 200}).encode()),
    ]
    rng = random.Random(1)  # noqa: S311  # not for cryptography
    for request in itertools.cycle(requests):
        with connect(port) as connection:
            connection.sendall(request[: rng.randrange(len(request) * 2)])  # half of the requests are complete
            time.sleep(rng.random() * 0.01)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        yield "gone"


@dataclass(frozen=True)
class Kind:
    """A kind of client.

    Attributes:
        client: Its action; yields the outcome of each turn.
        number: Number of such clients.
        proper: Its allowed outcomes.
    """

    client: Client
    number: int
    proper: tuple[str, ...]


KINDS = (
    Kind(predictions, 12, ("200", SHED)),
    Kind(explanations, 3, ("200", SHED)),
    Kind(batches, 2, ("200", SHED)),
    Kind(bad, 2, ("refused", SHED)),
    Kind(slow, 4, ("408",)),
    Kind(half_sent, 1, ("408",)),
    Kind(pipelining, 2, ("answered",)),
    Kind(reopening, 1, ("opened",)),
    Kind(patient, 2, ("200",)),
    Kind(silent, 4, ("closed",)),
    Kind(deaf, 4, ("given up",)),
    Kind(vanishing, 2, ("gone",)),
)


def main(port: str, seconds: str) -> None:
    """Run the clients and print their outcomes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2 * _HELD), most))
    loans = known_loans()
    deadline = time.monotonic() + float(seconds)
    outcomes: dict[str, Counter[str]] = {kind.client.__name__: Counter() for kind in KINDS}

    def run(kind: Kind) -> None:
        count = outcomes[kind.client.__name__]
        while time.monotonic() < deadline:
            try:
                for outcome in kind.client(int(port), loans):
                    count[outcome] += 1
                    if time.monotonic() > deadline:
                        return
            except Exception as error:  # a lost request or an invalid response
                count[f"lost: {error!r}"] += 1

    # Threads that still wait at the end are abandoned: slow ones would take ten more seconds.
    threads = [threading.Thread(target=run, args=(kind,), daemon=True) for kind in KINDS for _ in range(kind.number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic() + 1))
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
