"""API keys, against the process."""

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from processes import FRAMEWORK, Service, lines_of, wait_until

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.service.api_keys import SECURITY_SCHEMES, ApiKeys
from credit_risk_model.service.settings import ApiKeySettings

PREDICTION = "/api/models/credit_risk_model/prediction"
FIRST, SECOND, THIRD = ("first-" + "a" * 32, "second-" + "b" * 32, "third-" + "c" * 32)
GUARDED = {
    "predictions": [PREDICTION],
    "metadata": ["/api/models", "/api/models/credit_risk_model/metadata"],
    "docs": ["/docs", "/redoc", "/openapi.json", "/nothing"],
    "metrics": ["/metrics"],
}
HEALTH = ["/api/health", "/api/health/ready", "/api/health/startup"]


def as_a_secret_is_mounted(folder: Path, content: str) -> Path:
    """Write the keys as Kubernetes does: a link to a file below a link to a folder, which is set anew."""
    data = folder / f"..{time.monotonic_ns()}"
    data.mkdir()
    (data / "api_keys").write_text(content)
    new = folder / "..data_tmp"
    new.symlink_to(data.name)
    os.replace(new, folder / "..data")
    if not (folder / "api_keys").exists():
        (folder / "api_keys").symlink_to("..data/api_keys")
    return folder / "api_keys"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the keys are mounted."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def service(start_service: Callable[..., Service], archive_path: Path, folder: Path) -> Service:
    """A ready service all of whose parts are guarded by two keys."""
    file = as_a_secret_is_mounted(folder, f"# of the application\n{FIRST}\n\n# of Prometheus\n  {SECOND}\r\n")
    service = start_service(settings={"api_keys": {"file": str(file)}}, archive=str(archive_path))
    service.wait_for("/api/health/ready")
    return service


def ask(service: Service, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """Ask for a path as it is to be asked."""
    if path == PREDICTION:
        return httpx.post(service.address + path, json=EXAMPLE_LOAN, headers=headers)
    return httpx.get(service.address + path, headers=headers)


@pytest.mark.parametrize("path", [path for paths in GUARDED.values() for path in paths])
def test_line_feed_does_not_lead_past_the_keys(service: Service, path: str) -> None:
    """Routes that end in `$` also match a path with a line feed after it; here it is not there."""
    for headers, status in (({}, 401), ({"X-API-Key": FIRST}, 404)):
        assert ask(service, f"{path}%0a", headers).status_code == status


@pytest.mark.parametrize("path", [path for paths in GUARDED.values() for path in paths])
def test_without_a_key_nothing_is_answered(service: Service, path: str) -> None:
    """Whatever is no probe asks for a key, also what is not there."""
    for headers in ({}, {"X-API-Key": THIRD}, {"X-API-Key": ""}, {"Authorization": f"Basic {FIRST}"}):
        answer = ask(service, path, headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="credit risk model"'
        assert answer.json() == {
            "type": "Unauthorized",
            "messages": ["Send a valid API key as X-API-Key, or as Authorization: Bearer."],
        }


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X-API-Key": FIRST}, id="first"),
        pytest.param({"X-API-Key": SECOND}, id="second"),
        pytest.param({"Authorization": f"Bearer {FIRST}"}, id="bearer"),
        pytest.param({"Authorization": f"bearer {SECOND}"}, id="bearer, second"),
    ],
)
def test_with_a_key_all_is_answered(service: Service, headers: dict[str, str]) -> None:
    """Each key of the file opens everything, in either header."""
    statuses = {path: ask(service, path, headers).status_code for paths in GUARDED.values() for path in paths}
    assert statuses == dict.fromkeys(statuses, 200) | {"/nothing": 404}


def test_spaces_around_a_key_are_no_part_of_it(service: Service) -> None:
    """HTTP lets a header's value have spaces around it, which clients' settings often leave."""
    request = f"GET /api/models HTTP/1.1\r\nHost: x\r\nX-API-Key:  {FIRST} \t \r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(request.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_probes_need_no_key(service: Service) -> None:
    """Kubernetes asks without, and what looks like a probe's path is none."""
    assert {service.get(path)[0] for path in HEALTH} == {200}
    assert {service.get(path)[0] for path in ("/api/healthy", "/api/health/../models")} <= {401, 404}


def test_refused_requests_are_counted_and_no_key_is_logged(service: Service) -> None:
    """A missing key has its metric and its log line; keys stand in neither, right or wrong."""
    ask(service, PREDICTION, {"X-API-Key": THIRD, "X-Request-ID": "without-key"})
    samples = ask(service, "/metrics", {"X-API-Key": FIRST}).text
    assert 'credit_risk_refused_requests_total{model="",reason="unauthorized",status="4xx"} ' in samples
    (line,) = lines_of(service, 1, request_id="without-key")
    assert line["http.response.status_code"] == 401
    text = service.log.read_text()
    assert not [key for key in (FIRST, SECOND, THIRD) if key in text]


def test_log_says_at_the_start_who_may_ask(
    service: Service, start_service: Callable[..., Service], archive_path: Path
) -> None:
    """Keys that are on are counted, keys that are off are told."""
    (line,) = lines_of(service, 1, body="API keys are enabled")
    assert (line["keys"], line["protect"]) == (2, sorted(GUARDED))
    without = start_service(archive=str(archive_path))
    without.wait_for("/api/health/ready")
    assert ask(without, PREDICTION).status_code == 200
    assert [line["body"] for line in lines_of(without)].count(
        "API keys are disabled: anyone who can reach the service can call it"
    ) == 1


def test_contract_names_the_schemes(service: Service) -> None:
    """The document tells which operations need a key, and how it is sent."""
    document = ask(service, "/openapi.json", {"X-API-Key": FIRST}).json()
    assert document["components"]["securitySchemes"] == SECURITY_SCHEMES
    prediction = document["paths"][PREDICTION]["post"]
    assert prediction["security"] == [{"ApiKey": []}, {"Bearer": []}]
    assert "401" in prediction["responses"]
    assert "security" not in document["paths"]["/api/health"]["get"]


@pytest.mark.parametrize("guarded", GUARDED)
def test_only_what_is_named_is_guarded(
    guarded: str, start_service: Callable[..., Service], archive_path: Path, tmp_path: Path
) -> None:
    """`protect` names what needs a key; the rest is open."""
    file = tmp_path / "keys"
    file.write_text(FIRST)
    service = start_service(settings={"api_keys": {"file": str(file), "protect": [guarded]}}, archive=str(archive_path))
    service.wait_for("/api/health/ready")
    for name, paths in GUARDED.items():
        assert {ask(service, path).status_code == 401 for path in paths} == {name == guarded}, name


def test_keys_are_rotated_without_a_restart(service: Service, folder: Path) -> None:
    """A new file's keys hold within two seconds and the old ones no longer; a file that is no use changes nothing."""

    def status(key: str) -> int:
        return ask(service, "/api/models", {"X-API-Key": key}).status_code

    assert (status(FIRST), status(THIRD)) == (200, 401)
    as_a_secret_is_mounted(folder, THIRD)
    wait_until(lambda: (status(FIRST), status(SECOND), status(THIRD)) == (401, 401, 200), seconds=10)
    for break_it in (lambda: as_a_secret_is_mounted(folder, "short"), (folder / "api_keys").unlink):
        break_it()
        for _ in range(3):
            time.sleep(1.1)
            assert (status(FIRST), status(THIRD)) == (401, 200)
    errors = lines_of(service, 2, severity="ERROR")
    assert {line["body"] for line in errors} == {"API keys not reloaded, the old ones stay valid"}
    assert ["line 1 is not an API key" in line["reason"] for line in errors] == [True, False]
    assert "can't be read (No such file or directory)" in errors[1]["reason"]
    as_a_secret_is_mounted(folder, f"{FIRST}\n{SECOND}")
    wait_until(lambda: (status(FIRST), status(SECOND), status(THIRD)) == (200, 200, 401), seconds=10)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, r"can't be read \(No such file or directory\)", id="missing"),
        pytest.param("", r"has no API key\. Write one a line", id="empty"),
        pytest.param("# nothing yet\n\n", r"has no API key\.", id="comments only"),
        pytest.param(
            f"{FIRST}\n{'x' * 31}", r"line 2 is not an API key\. A key has at least 32 ASCII characters", id="short"
        ),
        pytest.param(f"{FIRST} {SECOND}", r"line 1 is not an API key", id="two on a line"),
        pytest.param("ä" * 40, r"line 1 is not an API key", id="not ASCII"),
    ],
)
def test_file_without_keys_is_refused(content: str | None, words: str, tmp_path: Path) -> None:
    """What can't guard anything is named, with the cure, and never the line's text."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"keys: {words}") as raised:
        ApiKeys(ApiKeySettings(file=str(file)))
    assert "xxx" not in str(raised.value)
    assert FIRST not in str(raised.value)


def test_missing_file_stops_the_start(start_service: Callable[..., Service], tmp_path: Path) -> None:
    """A service that is to be guarded never runs unguarded."""
    service = start_service(settings={"api_keys": {"file": str(tmp_path / "none")}})
    assert service.process.wait(30) != 0
    said = json.loads(service.log.read_text())["body"]
    assert said.startswith("The service can't start: ")
    assert "none: can't be read" in said


def test_framework_alone_ignores_the_keys(
    start_service: Callable[..., Service], archive_path: Path, tmp_path: Path
) -> None:
    """rest_model_service's own application starts with the same YAML; nothing guards it."""
    service = start_service(
        command=FRAMEWORK, settings={"api_keys": {"file": str(tmp_path)}}, archive=str(archive_path)
    )
    service.wait_for("/api/health/ready")
    assert ask(service, PREDICTION).status_code == 200
