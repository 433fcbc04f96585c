"""How the service is started, by its command."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from conftest import CONFIGURATION, ROOT
from processes import Service, lines_of, wait_until

from credit_risk_model.examples import EXAMPLE_LOAN

PREDICTION = "/api/models/credit_risk_model/prediction"


def refusal_of(*options: str, configuration: Path = CONFIGURATION) -> str:
    """What a command says that does not start."""
    command = [sys.executable, "-m", "credit_risk_model.service", "--config", str(configuration), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    line = json.loads(done.stderr)
    assert (line["severity"], line["otel.scope.name"]) == ("CRITICAL", "credit_risk_model.service")
    words, _, said = line["body"].partition(": ")
    assert words == "The service can't start"
    return str(said)


def test_fault_of_the_start_is_plain_at_a_terminal() -> None:
    """Somebody at a terminal reads a sentence, a collector of logs a line of JSON."""
    shown, terminal = os.openpty()
    command = [sys.executable, "-m", "credit_risk_model.service", "--workers", "2"]
    assert subprocess.run(command, cwd=ROOT, stderr=terminal, timeout=60, check=False).returncode == 1
    said = os.read(shown, 4096).decode()
    os.close(shown)
    os.close(terminal)
    assert said.startswith("The service can't start: --workers 2: must be 1, since each process")


def test_more_workers_are_refused_with_the_way_to_run_several() -> None:
    """Metrics and readiness are a process's own, so it is one process."""
    assert "Start more processes on other ports behind a proxy" in refusal_of("--workers", "2")


def test_address_in_use_is_named() -> None:
    """What can't be listened at is told, not shown as a stack."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal_of("--port", str(port))
    assert said == f"127.0.0.1:{port}: can't listen on this address (Address already in use)."


def test_certificate_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    """A file that is missing or no certificate, or a key without one, is told before anything is loaded."""
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    empty.touch()
    said = refusal_of("--port", "0", "--ssl-certfile", str(missing))
    assert said == f"--ssl-certfile {missing}: can't be loaded (No such file or directory)."
    said = refusal_of("--port", "0", "--ssl-certfile", str(empty), "--ssl-keyfile", str(empty))
    assert said.startswith(f"--ssl-certfile {empty}, --ssl-keyfile {empty}: can't be loaded (")
    assert refusal_of("--ssl-keyfile", str(empty)) == "--ssl-keyfile: also name the certificate (--ssl-certfile)."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("service:\n  max_connections: 1\nservice:\n  api_keys: {}\n", "duplicate key 'service'", id="key"),
        pytest.param(
            "service: {max_connections: 1, max_connections: 2}", "duplicate key 'max_connections'", id="deeper"
        ),
        pytest.param("service_title: a".encode("utf-16"), "not in UTF-8. Save it in UTF-8.", id="UTF-16"),
        pytest.param("service_title: \xff".encode("latin-1"), "not in UTF-8. Save it in UTF-8.", id="Latin-1"),
        pytest.param(
            "service: {largest_body: 1}", "service.largest_body: has been renamed to max_body_bytes", id="former name"
        ),
    ],
)
def test_configuration_that_can_not_be_meant_is_refused(content: str | bytes, words: str, tmp_path: Path) -> None:
    """A file that would lose a setting in silence stops the start, in one line."""
    path = tmp_path / "configuration.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in refusal_of(configuration=path)


def test_service_listens_at_a_path(start_service: Callable[..., Service], archive_path: Path, tmp_path: Path) -> None:
    """Over a Unix domain socket it answers, drains and ends as over TCP; one that is left over is replaced."""
    path = tmp_path / "service.socket"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    service = start_service("--uds", str(path), archive=str(archive_path))
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://service") as client:
        deadline = time.monotonic() + 60
        while '"body":"ready"' not in service.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.get("/api/health/ready").status_code == 200
        assert client.post(PREDICTION, json=EXAMPLE_LOAN).status_code == 200
        service.process.terminate()
        time.sleep(0.1)
        answer = client.post(PREDICTION, json=EXAMPLE_LOAN)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    service.process.wait(10)


@pytest.fixture(scope="module")
def behind_proxy(start_service: Callable[..., Service], archive_path: Path) -> Service:
    """A ready service of which a proxy takes a prefix away."""
    service = start_service("--root-path", "/credit", archive=str(archive_path))
    service.wait_for("/api/health/ready")
    return service


def test_prefix_of_a_proxy_changes_no_bound(behind_proxy: Service) -> None:
    """Behind a prefix all is guarded, counted and logged as without it."""
    assert httpx.post(behind_proxy.address + PREDICTION, json=EXAMPLE_LOAN).status_code == 200
    assert httpx.post(behind_proxy.address + PREDICTION, content=b" " * 70_000).status_code == 413
    many = httpx.post(behind_proxy.address + PREDICTION, content=b"[" + b"{}," * 20_000 + b"{}]")
    assert (many.status_code, many.json()["messages"][0][:32]) == (400, "The body has 20001 JSON objects;")
    counted = f'credit_risk_request_duration_seconds_count{{route="{PREDICTION}",status="2xx"}} 1'
    wait_until(lambda: counted in httpx.get(f"{behind_proxy.address}/metrics").text)


def test_links_lead_through_the_proxy(behind_proxy: Service) -> None:
    """The contract and the redirect name the prefix, so that pages opened through the proxy ask through it."""
    assert httpx.get(f"{behind_proxy.address}/openapi.json").json()["servers"] == [{"url": "/credit"}]
    assert httpx.get(behind_proxy.address).headers["location"] == "/credit/docs"


@pytest.mark.parametrize(
    "path",
    [PREDICTION + "/", "/" + PREDICTION, PREDICTION + "%20", "/api/models/", "/docs/oauth2-redirect", "/api/health/x"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_in_the_table_is_not_there(shipped: Service, method: str, path: str) -> None:
    """No path leads past the table to a route of the framework's."""
    answer = httpx.request(method, shipped.address + path)
    assert (answer.status_code, answer.json()) == (404, {"type": "NotFound", "messages": ["Not Found"]})


def test_heads_and_options_are_answered(shipped: Service) -> None:
    """Checks of proxies and uptime monitors, which send HEAD or OPTIONS, find the service up."""
    for path in ("/", "/api/health", "/api/health/ready", "/docs", "/openapi.json", "/metrics"):
        head, got = httpx.head(shipped.address + path), httpx.get(shipped.address + path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert httpx.options(shipped.address + path).headers["allow"] == "GET, HEAD, OPTIONS"
    assert httpx.put(shipped.address + PREDICTION).headers["allow"] == "OPTIONS, POST"


@pytest.mark.parametrize("character", ["\x9b", "\u2028", "\u202e", "\x7f", "\x85"], ids=ascii)
def test_odd_characters_of_a_path_are_escaped_in_the_log(shipped: Service, character: str) -> None:
    """One line is one line by every reader's count, and shows what it holds."""
    identity = f"odd-{ord(character):x}"
    assert httpx.get(f"{shipped.address}/a{quote(character)}b", headers={"X-Request-ID": identity}).status_code == 404
    lines_of(shipped, 1, request_id=identity)
    text = shipped.log.read_text(encoding="utf-8")
    assert character not in text
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    assert [line["url.path"] for line in lines if line.get("request_id") == identity] == [f"/a{character}b"]
