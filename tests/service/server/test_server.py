"""How connections are accepted, and how a service ends without losing a request."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from socket import create_connection

import httpx
import pytest
from processes import Service, threads
from raw_client import GOOD, HALF_SENT, HEALTH, JSON, LOAN, PREDICTION, connected, one_answer, refusal, rest_of
from uvicorn.server import ServerState

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.service.server import server
from credit_risk_model.service.server.server import check_uvicorn


def test_installed_uvicorn_is_the_one_that_is_built_on() -> None:
    """What the server relies on is what is installed."""
    check_uvicorn()


def test_other_uvicorn_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a uvicorn that has other names the service does not start, and says which."""
    monkeypatch.setitem(server._REQUIRED_NAMES, ServerState, ("connections", "started_tasks"))
    with pytest.raises(ConfigurationError, match=r"uvicorn [0-9.]+ with httptools .*it lacks started_tasks\): install"):
        check_uvicorn()


def test_drain_answers_over_bounded_connections(start_service: Callable[..., Service], archive_path: Path) -> None:
    """SIGTERM ends the process in time, whatever idle, half-sent and lingering connections there are."""
    service = start_service(archive=str(archive_path))
    service.wait_for("/api/health/ready")
    too_large = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n".encode()
    with ExitStack() as stack:
        opened = [
            stack.enter_context(connected(service, sent)) for sent in (b"", HEALTH, HEALTH[:9], too_large, b"X Y")
        ]
        one_answer(opened[1])
        time.sleep(0.2)
        service.process.terminate()
        time.sleep(0.1)
        opened[1].sendall(GOOD)
        answer = one_answer(opened[1])
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        began = time.monotonic()
        service.process.wait(10)
        assert time.monotonic() - began < 5


def test_body_that_never_completes_does_not_delay_the_end(
    start_service: Callable[..., Service], archive_path: Path
) -> None:
    """After SIGTERM a half-sent body is refused with the drain's end, not waited for."""
    service = start_service(archive=str(archive_path))
    service.wait_for("/api/health/ready")
    with connected(service, HALF_SENT) as connection:
        time.sleep(0.2)
        service.process.terminate()
        began = time.monotonic()
        assert refusal(rest_of(connection))[0] == 408
        service.process.wait(10)
        assert time.monotonic() - began < 4


def test_connections_that_come_until_the_end_are_answered(
    start_service: Callable[..., Service], archive_path: Path
) -> None:
    """Whoever is let in before the listening socket is closed is answered; nobody's connection is reset."""
    service = start_service(archive=str(archive_path))
    service.wait_for("/api/health/ready")
    ends: list[bytes] = []
    ending = False
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        try:
            with connected(service, GOOD) as connection:
                ends.append(one_answer(connection)[:12])
        except ConnectionRefusedError:
            break
        if len(ends) == 20 and not ending:
            ending = True
            service.process.terminate()
    service.process.wait(10)
    assert set(ends) == {b"HTTP/1.1 200"}
    assert len(ends) > 20


def test_probe_does_not_wait_behind_a_rush_of_connections(service: Service) -> None:
    """While requests on open connections keep the service busy, 900 new connections do not hold up the probe."""
    body = json.dumps(EXAMPLE_LOAN).encode()
    head = f"POST /api/models/credit_risk_model/prediction HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"

    def converse(over: threading.Event) -> None:
        # A hundred requests at once, so that not the client but the service is busy.
        with create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            while not over.is_set():
                connection.sendall((head.encode() + body) * 100)
                received = b""
                while received.count(b"risk_probability") < 100:
                    part = connection.recv(65536)
                    assert part, "the service closed a connection"
                    received += part

    with threads(*[converse] * 24), ExitStack() as stack:
        time.sleep(0.5)
        for _ in range(900):
            stack.enter_context(create_connection(("127.0.0.1", service.port)))
        began = time.monotonic()
        assert service.get("/api/health")[0] == 200
        assert time.monotonic() - began < 1


def test_connections_that_waited_speak_tls_too(
    start_service: Callable[..., Service], archive_path: Path, tmp_path: Path
) -> None:
    """Where the server has a certificate, all of many connections that came together are encrypted."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *subject], check=True, capture_output=True)
    tls = ("--ssl-keyfile", str(key), "--ssl-certfile", str(certificate))
    service = start_service(*tls, archive=str(archive_path))
    context = ssl.create_default_context(cafile=str(certificate))
    deadline = time.monotonic() + 30
    while '"listening"' not in service.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with ExitStack() as stack:
        waiting = [stack.enter_context(create_connection(("127.0.0.1", service.port), timeout=20)) for _ in range(40)]
        for connection in waiting:
            encrypted = stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
            encrypted.sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert encrypted.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_connections_are_refused_once_the_service_has_ended(service: Service) -> None:
    """The service leaves nothing listening: a client learns at once that it must go elsewhere."""
    assert service.get("/api/health")[0] == 200
    service.stop()
    with pytest.raises(ConnectionRefusedError):
        create_connection(("127.0.0.1", service.port))


def test_sigterm_under_load_answers_what_came(start_service: Callable[..., Service], archive_path: Path) -> None:
    """Of 16 busy keep-alive connections at most one sees anything but an answer with the word to close."""
    service = start_service(archive=str(archive_path))
    service.wait_for("/api/health/ready")
    request = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(LOAN)}\r\n\r\n".encode() + LOAN
    outcomes: list[str] = []

    def converse(_: threading.Event) -> None:
        try:
            with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
                while True:
                    connection.sendall(request)
                    answer = connection.recv(65536)
                    while answer and not answer.endswith(b"}"):  # head and body may come apart
                        part = connection.recv(65536)
                        if not part:
                            raise ConnectionResetError
                        answer += part
                    if not answer.startswith(b"HTTP/1.1 200 "):
                        outcomes.append("closed" if not answer else "refused")
                        return
                    if b"connection: close" in answer:
                        outcomes.append("told")
                        return
        except OSError:
            outcomes.append("reset")

    with threads(*[converse] * 16):
        time.sleep(1)
        service.process.terminate()
        service.process.wait(20)
    assert len(outcomes) == 16
    assert sum(outcome != "told" for outcome in outcomes) <= 1, outcomes


@dataclass
class Seen:
    """What clients that try again have seen: lost answers, ends of connections, and answers by port."""

    lost: list[str] = field(default_factory=list)
    tried_again: list[str] = field(default_factory=list)
    answered: Counter[int] = field(default_factory=Counter)


def keep_asking(over: threading.Event, ports: tuple[int, int], expected: object, pause: float, seen: Seen) -> None:
    """Ask the first port until it refuses, then the second; send a request again where its connection ended."""
    port, other = ports
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while not over.is_set():
        for _ in range(5):
            try:
                connection.request("POST", PREDICTION, LOAN, JSON)
                answer = connection.getresponse()
                if (answer.status, json.loads(answer.read())) != (200, expected):
                    seen.lost.append(f"answered with {answer.status}")
                seen.answered[port] += 1
                break
            except OSError as error:  # closed, or refused, without a byte of an answer
                seen.tried_again.append(type(error).__name__)
                connection.close()
                if isinstance(error, ConnectionRefusedError):
                    port = other
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            except http.client.HTTPException as error:
                seen.lost.append(repr(error))
                connection.close()
                break
        else:
            seen.lost.append("never answered")
        time.sleep(pause)
    connection.close()


def test_client_that_tries_again_loses_nothing(start_service: Callable[..., Service], archive_path: Path) -> None:
    """A client that sends a request again where its connection ended, if need be elsewhere, has every answer.

    The clients go on with the service that ends until it refuses them, as those that hear of it late do; every second
    one pauses between its requests for longer than the drain lasts, so that its connection closes while it has none.
    """
    ending, other = (start_service(settings={"drain_timeout_seconds": 1}, archive=str(archive_path)) for _ in range(2))
    for service in (ending, other):
        service.wait_for("/api/health/ready")
    expected = httpx.post(other.address + PREDICTION, content=LOAN, headers=JSON).json()
    ports, seen = (ending.port, other.port), Seen()
    client = partial(keep_asking, ports=ports, expected=expected, seen=seen)
    with threads(*(partial(client, pause=pause) for pause in (0, 3) * 8)):
        time.sleep(1)
        ending.process.terminate()
        ending.process.wait(20)
        time.sleep(2)
    assert not seen.lost
    assert min(seen.answered[port] for port in ports) > 100, seen.answered
    closed = [name for name in seen.tried_again if name != "ConnectionRefusedError"]
    assert len(closed) >= 8, f"too few connections were closed on a request to prove anything: {closed}"


def test_connections_are_served_while_draining(start_service: Callable[..., Service], archive_path: Path) -> None:
    """While a drain lasts, an idle keep-alive connection's next request is answered, with the word to close."""
    service = start_service(archive=str(archive_path))
    service.wait_for("/api/health/ready")

    def keep_draining(over: threading.Event) -> None:
        while not over.is_set():
            service.get("/api/health")

    with httpx.Client(base_url=service.address) as client, threads(*[keep_draining] * 3):
        assert client.post(PREDICTION, content=LOAN, headers=JSON).status_code == 200
        service.process.terminate()
        service.wait_for("/api/health/ready", status=503)
        answer = client.post(PREDICTION, content=LOAN, headers=JSON)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    service.process.wait(20)
