import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from socket import create_connection

import pytest
from conftest import Service, threads

from credit_risk_model.schemas import EXAMPLE_LOAN


@pytest.fixture(scope="module")
def service(start_service: Callable[..., Service], archive_path: Path) -> Service:
    """A ready service."""
    service = start_service(archive=str(archive_path))
    service.wait_for("/api/health/ready")
    return service


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
