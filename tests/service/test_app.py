"""What the hardened application adds to the framework's, as a process, over HTTP and raw sockets."""

import json
import os
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import SHIPPED
from processes import Service, threads
from raw_client import JSON, LOAN, PREDICTION, exchange

from credit_risk_model import archive
from credit_risk_model.examples import EXAMPLE_LOAN


@pytest.fixture(scope="module")
def service(start_service: Callable[..., Service], archive_path: Path) -> Service:
    """A ready service with the small archive, bodies bounded to a second, and the models for tests."""
    service = start_service(
        settings={"body_timeout_seconds": 0.5, "max_concurrent_slow_predictions": 2},
        more_models=(
            "credit_risk_model.prediction.batch.CreditRiskBatch",
            *(f"models_for_tests.{name}" for name in ("SlowModel", "BrokenModel", "ChoosyModel", "OddModel")),
        ),
        archive=str(archive_path),
    )
    service.wait_for("/api/health/ready")
    return service


def lines_of(service: Service) -> list[dict[str, Any]]:
    """The log, a JSON object a line."""
    return [json.loads(line) for line in service.log.read_text().splitlines()]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"{", "json_invalid", id="cut off"),
        pytest.param(b"not json", "json_invalid", id="no JSON"),
        pytest.param(b'{"annual_income": \xff}', "json_invalid", id="invalid UTF-8"),
        pytest.param(b"[" * 50_000, "50000 JSON arrays", id="nesting bomb"),
        pytest.param(LOAN.replace(b"65000", b"1e400"), "annual_income", id="1e400"),
        pytest.param(LOAN.replace(b"65000", b"9" * 5000), "json_invalid", id="5,000 digits"),
        pytest.param(b"", "missing", id="empty"),
        pytest.param(b"\x00" * 100, "json_invalid", id="zeros"),
    ],
)
def test_body_that_can_not_be_read_is_a_400(service: Service, body: bytes, words: str) -> None:
    """Whatever the bytes, the answer is a 400 in the one shape, never a 500."""
    answer = httpx.post(service.address + PREDICTION, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (400, "ValidationError")
    (message,) = answer.json()["messages"]
    assert words in message


def test_errors_do_not_echo_what_was_sent(service: Service) -> None:
    """Neither a long value nor a long name comes back whole, and of many errors the first hundred are told."""
    loan = {**EXAMPLE_LOAN, "term": "x" * 5000, "y" * 5000: 1}
    answer = httpx.post(service.address + PREDICTION, json=loan)
    assert answer.status_code == 400
    assert all(len(message) < 300 for message in answer.json()["messages"])
    many = httpx.post(
        f"{service.address}/api/models/credit_risk_batch/prediction", json={"loans": [{"field": 1}] * 500}
    )
    assert len(many.json()["messages"]) == 101
    assert many.json()["messages"][-1] == "And 8400 more errors."


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
def test_other_content_type_is_a_415(service: Service, content_type: str) -> None:
    """A body that says it is something other than JSON is not read."""
    answer = httpx.post(service.address + PREDICTION, content=LOAN, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["type"]) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/a+json"])
def test_json_by_any_of_its_names_is_read(service: Service, content_type: str) -> None:
    """Parameters, case and suffix types are JSON all the same."""
    answer = httpx.post(service.address + PREDICTION, content=LOAN, headers={"Content-Type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nothing", 404, "NotFound"),
        ("POST", "/api/models/unknown/prediction", 404, "NotFound"),
        ("GET", "/api/models/unknown/metadata", 404, "NotFound"),
        ("GET", PREDICTION, 405, "MethodNotAllowed"),
        ("DELETE", PREDICTION, 405, "MethodNotAllowed"),
        ("POST", "/api/health", 405, "MethodNotAllowed"),
    ],
)
def test_unknown_path_and_wrong_method_have_the_one_shape(
    service: Service, method: str, path: str, status: int, kind: str
) -> None:
    """What is not there and what is not allowed is told as every error is."""
    answer = httpx.request(method, service.address + path)
    assert answer.status_code == status
    assert answer.json()["type"] == kind
    assert answer.json().keys() == {"type", "messages"}


def test_trickling_body_is_a_408(service: Service) -> None:
    """A body that does not arrive in time is refused, and its connection closed."""
    request = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()
    answer = exchange(service, request)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer
    assert httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON).status_code == 200


def test_request_id_is_taken_or_made(service: Service) -> None:
    """A fit X-Request-ID comes back, an unfit one is replaced, and each request without one gets its own."""
    given = httpx.post(service.address + PREDICTION, content=LOAN, headers={**JSON, "X-Request-ID": "abc-1.2_Z"})
    assert given.headers["x-request-id"] == "abc-1.2_Z"
    for unfit in (b"x" * 65, b"a b", b'a"b', "é".encode()):
        answer = httpx.get(f"{service.address}/api/models", headers={b"X-Request-ID": unfit})
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    made = {httpx.get(f"{service.address}/api/models").headers["x-request-id"] for _ in range(5)}
    assert len(made) == 5


def test_fault_of_ours_is_an_opaque_500(service: Service) -> None:
    """A failing model answers the request's id, under which the log tells of it twice, and nothing of its error."""
    answer = httpx.post(f"{service.address}/api/models/broken/prediction", json={})
    assert (answer.status_code, answer.json()["type"]) == (500, "ServiceError")
    assert "secret" not in answer.text
    (error_id,) = re.findall("[0-9a-f]{16}", answer.json()["messages"][0])
    assert answer.headers["x-request-id"] == error_id
    time.sleep(0.2)  # requests' lines are written together, a little late
    fault, request = [line for line in lines_of(service) if line.get("request_id") == error_id]
    assert (fault["body"], fault["error.type"]) == ("fault", "RuntimeError")
    assert "models_for_tests.py" in fault["code.stacktrace"]
    assert (request["body"], request["http.response.status_code"]) == ("request", 500)
    assert "secret of a borrower" not in service.log.read_text()


def test_schema_exception_of_ml_base_is_a_400(service: Service) -> None:
    """A model may refuse what its schema lets pass, as the framework has it."""
    answer = httpx.post(f"{service.address}/api/models/choosy/prediction", json={})
    assert answer.status_code == 400
    assert answer.json() == {"type": "SchemaValidationError", "messages": ["not today"]}


def test_long_predictions_leave_the_service_free(service: Service) -> None:
    """While long predictions are at work, others are answered at once; more than the limit are sent away."""
    slow = f"{service.address}/api/models/slow/prediction"
    answers: list[httpx.Response] = []

    def ask(_: threading.Event) -> None:
        answers.append(httpx.post(slow, json={"seconds": 2}, timeout=10))

    with threads(ask, ask):
        time.sleep(0.5)
        began = time.monotonic()
        assert httpx.get(f"{service.address}/api/health").status_code == 200
        assert httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON).status_code == 200
        refused = httpx.post(slow, json={"seconds": 0})
        assert time.monotonic() - began < 1.4, "the short ones waited for the long ones"
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert [answer.json() for answer in answers] == [{"done": True}] * 2


def test_long_predictions_wait_a_moment_for_their_turn(service: Service) -> None:
    """Twenty explanations at once all get their answers, though only two are at work at a time."""
    address = f"{service.address}/api/models/slow/prediction"
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: httpx.post(address, json={"seconds": 0.02}, timeout=10), range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20


def test_answer_says_which_archive_it_is_from(service: Service, archive_path: Path) -> None:
    """Version and digest stand in the headers of a prediction; a model without an archive has its own version."""
    answer = httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON)
    digest = archive.sha256(archive_path.read_bytes())[:12]
    assert (answer.headers["x-model-version"], answer.headers["x-model-digest"]) == ("test", digest)
    foreign = httpx.post(f"{service.address}/api/models/slow/prediction", json={})
    assert foreign.headers["x-model-version"] == "1"
    assert "x-model-digest" not in foreign.headers


def test_client_that_goes_away_is_counted_and_logged(service: Service) -> None:
    """A client that resets its connection before its answer leaves a line with 499, counted apart from refusals."""

    def gone() -> float:
        time.sleep(0.2)  # counted a little late, and gathered at most every tenth of a second
        lines = httpx.get(f"{service.address}/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("credit_risk_clients_gone_total "))

    before = gone()
    body = b'{"seconds": 1}'
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        head = "POST /api/models/slow/prediction HTTP/1.1\r\nHost: x\r\nX-Request-ID: gone\r\nContent-Length: "
        connection.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body)
        time.sleep(0.2)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert gone() == before + 1
    (line,) = [line for line in lines_of(service) if line.get("request_id") == "gone"]
    assert line["http.response.status_code"] == 499


def test_each_series_is_there_from_the_start(service: Service) -> None:
    """Before anything was asked or refused there is a 0 to count from, so that the first of its kind is seen."""
    names = [line.rpartition(" ")[0] for line in httpx.get(f"{service.address}/metrics").text.splitlines()]
    for name in (
        'credit_risk_request_duration_seconds_bucket{route="/docs",status="5xx",le="10.0"}',
        'credit_risk_request_duration_seconds_count{route="other",status="4xx"}',
        'credit_risk_refused_requests_total{model="",reason="large_headers",status="4xx"}',
        'credit_risk_refused_requests_total{model="credit_risk_model",reason="fault",status="5xx"}',
        'credit_risk_predictions_total{credit_risk="risky",model="credit_risk_model",model_version="test"}',
        'credit_risk_evicted_connections_total{waiting="first_request"}',
        "credit_risk_clients_gone_total",
        "credit_risk_event_loop_lag_seconds_count",
    ):
        assert name in names, name


def test_log_has_a_line_of_json_for_each_request(service: Service) -> None:
    """Each request leaves id, method, path, status and time; probes leave nothing; no line holds a loan's values."""
    loan = {**EXAMPLE_LOAN, "annual_income": 71234, "total_payments_to_date": 1234.56}
    httpx.post(service.address + PREDICTION, json=loan, headers={"X-Request-ID": "logged"})
    httpx.post(service.address + PREDICTION, json={**loan, "term": "71234"}, headers={"X-Request-ID": "refused"})
    service.get("/api/health")
    time.sleep(0.2)  # requests' lines are written together, a little late
    lines = lines_of(service)
    requests = {line["request_id"]: line for line in lines if line["body"] == "request"}
    for name, status in (("logged", 200), ("refused", 400)):
        line = requests[name]
        assert (line["severity"], line["http.request.method"], line["url.path"], line["http.response.status_code"]) == (
            "INFO",
            "POST",
            PREDICTION,
            status,
        )
        assert 0 < line["milliseconds"] < 10_000
        assert line["model_version"] == "test"
    assert (requests["refused"]["reason"], requests["refused"]["fields"]) == ("invalid", ["term"])
    assert not [line for line in lines if line.get("url.path", "").startswith("/api/health")]
    text = service.log.read_text()
    assert "71234" not in text
    assert "1234.56" not in text


def test_line_of_a_prediction_tells_decision_and_trace(service: Service) -> None:
    """Who follows a trace finds what was decided; what is no trace's id is left out."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for identity, of in (("traced", trace), ("untraced", "0" * 32)):
        headers = {**JSON, "X-Request-ID": identity, "traceparent": f"00-{of}-00f067aa0ba902b7-01"}
        answer = httpx.post(service.address + PREDICTION, content=LOAN, headers=headers).json()
    time.sleep(0.2)
    lines = {line["request_id"]: line for line in lines_of(service) if line["body"] == "request"}
    assert (lines["traced"]["trace_id"], lines["traced"]["credit_risk"]) == (trace, answer["credit_risk"])
    assert "trace_id" not in lines["untraced"]


def test_probes_are_logged_where_the_setting_says_so(start_service: Callable[..., Service], archive_path: Path) -> None:
    """With `log_probes`, health endpoints leave lines as all others do."""
    service = start_service(settings={"log_probes": True}, archive=str(archive_path))
    service.wait_for("/api/health/ready")
    time.sleep(0.2)
    assert ("/api/health/ready", 200) in {
        (line.get("url.path"), line.get("http.response.status_code")) for line in lines_of(service)
    }


def test_metrics_count_answers_and_refusals(service: Service, archive_path: Path) -> None:
    """Predictions by decision, probabilities, evaluation times, refusals by reason and the start can be scraped."""

    def scrape() -> dict[str, float]:
        text = httpx.get(f"{service.address}/metrics").text
        found = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in found}

    def total(samples: dict[str, float], name: str) -> float:
        return sum(value for sample, value in samples.items() if sample.startswith(name))

    before = scrape()
    time.sleep(0.15)  # they are gathered at most every tenth of a second
    httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON)
    httpx.post(service.address + PREDICTION, content=b"{", headers=JSON)
    after = scrape()
    for name in (
        'credit_risk_predictions_total{credit_risk="',
        'credit_risk_probability_count{model="credit_risk_model",model_version="test"}',
        'credit_risk_prediction_duration_seconds_count{model="credit_risk_model"}',
        'credit_risk_refused_requests_total{model="credit_risk_model",reason="invalid",status="4xx"}',
        f'credit_risk_request_duration_seconds_count{{route="{PREDICTION}",status="2xx"}}',
        f'credit_risk_request_duration_seconds_count{{route="{PREDICTION}",status="4xx"}}',
    ):
        assert total(after, name) == total(before, name) + 1, name
    assert 0 < after["credit_risk_startup_duration_seconds"] < 60
    assert after["credit_risk_requests_in_flight"] == 1
    assert after["credit_risk_open_connections"] >= 1
    assert total(after, "credit_risk_build_info") == 1
    assert after["process_resident_memory_bytes"] > 1e7
    digest = archive.sha256(archive_path.read_bytes())
    assert after[f'credit_risk_model_info{{model="credit_risk_model",sha256="{digest}",version="test"}}'] == 1


def test_pinned_archive_is_loaded_and_any_other_refused(
    start_service: Callable[..., Service], archive_path: Path
) -> None:
    """With a digest in the YAML, the service gets ready on that archive, and stays unready with any other."""
    digest = archive.sha256(archive_path.read_bytes())
    good = start_service(archive=str(archive_path), sha256=digest)
    good.wait_for("/api/health/ready")
    time.sleep(0.5)  # the log tells it a moment later
    assert [line["sha256"] for line in lines_of(good) if line["body"] == "loaded"] == [digest]
    bad = start_service(archive=str(archive_path), sha256="0" * 64)
    bad.wait_for("/api/health", status=503)
    assert bad.get("/api/health/ready")[0] == 503
    assert f"its SHA-256 is {digest}, but the configuration pins" in bad.log.read_text()


def test_model_not_loaded_is_a_503_to_come_back_to(
    start_service: Callable[..., Service], archive_path: Path, tmp_path: Path
) -> None:
    """While the model loads the process is healthy, not ready, and sends predictions away for a second."""
    pipe = tmp_path / "1.zip"
    os.mkfifo(pipe)  # reading it waits until somebody writes
    service = start_service(archive=str(pipe))
    service.wait_for("/api/health")
    assert service.get("/api/health/startup")[0] == 503
    assert service.get("/api/health/ready")[0] == 503
    answer = httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert httpx.get(f"{service.address}/api/models/credit_risk_model/metadata").status_code == 503
    pipe.unlink()
    service.process.kill()


def test_answer_that_is_no_json_is_a_fault_too(service: Service) -> None:
    """What a model answers and JSON can't hold is told as any fault of ours."""
    answer = httpx.post(f"{service.address}/api/models/odd/prediction", json={})
    assert (answer.status_code, answer.json()["type"]) == (500, "ServiceError")
    assert "x-request-id" in answer.headers


def test_refused_archive_sends_predictions_away(start_service: Callable[..., Service], tmp_path: Path) -> None:
    """With a model that can't be trusted, predictions are refused and not found missing."""
    service = start_service(archive=str(tmp_path / "1.zip"))
    service.wait_for("/api/health", status=503)
    assert httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON).status_code == 503


def test_service_that_is_told_to_end_while_it_loads_does_not_become_ready(
    start_service: Callable[..., Service], archive_path: Path
) -> None:
    """Models that are loaded after SIGTERM welcome no traffic that nobody will be there to answer."""
    service = start_service(
        archive=str(archive_path),
        more_models=("models_for_tests.SlowToLoadModel",),
        settings={"drain_timeout_seconds": 30},
    )
    service.wait_for("/api/health")
    service.process.send_signal(signal.SIGTERM)
    statuses, asked_since_start = set(), 0
    with httpx.Client(base_url=service.address) as client:
        while asked_since_start < 50:  # as long as requests come, the drain goes on
            statuses.add(client.get("/api/health/ready").status_code)
            asked_since_start += client.get("/api/health/startup").status_code == 200
    assert statuses == {503}
    assert '"body":"ready"' not in service.log.read_text()


def test_champion_and_challenger_stand_side_by_side(start_service: Callable[..., Service], archive_path: Path) -> None:
    """By `model_name` one service answers from two archives, each with its batch and explanation."""
    parts = {
        "model.CreditRiskModel": "model",
        "batch.CreditRiskBatch": "batch",
        "explanation.CreditRiskExplanation": "why",
    }
    challenger = tuple(
        {
            "class_path": f"credit_risk_model.prediction.{part}",
            "configuration": {"archive": str(archive_path), "model_name": f"challenger_{name}"},
        }
        for part, name in parts.items()
    )
    champion = ("credit_risk_model.prediction.batch.CreditRiskBatch",)
    service = start_service(archive=str(SHIPPED), more_models=(*champion, *challenger))
    service.wait_for("/api/health/ready")

    def ask(model: str, body: dict[str, Any]) -> tuple[dict[str, Any], str]:
        answer = httpx.post(f"{service.address}/api/models/{model}/prediction", json=body)
        return answer.json(), answer.headers["X-Model-Version"]

    shipped = archive.read(SHIPPED).metadata.model_version
    first, version = ask("credit_risk_model", EXAMPLE_LOAN)
    assert version == shipped
    second, version = ask("challenger_model", EXAMPLE_LOAN)
    assert version == "test"
    assert first["risk_probability"] != second["risk_probability"]
    batch = {"loans": [EXAMPLE_LOAN]}
    assert ask("credit_risk_batch", batch) == ({"predictions": [first]}, shipped)
    assert ask("challenger_batch", batch) == ({"predictions": [second]}, "test")
    explained, version = ask("challenger_why", EXAMPLE_LOAN)
    assert (explained["risk_probability"], version) == (second["risk_probability"], "test")
    paths = httpx.get(f"{service.address}/openapi.json").json()["paths"]
    assert "/api/models/challenger_why/prediction" in paths
    told = httpx.get(f"{service.address}/api/models/challenger_model/metadata").json()
    assert (told["qualified_name"], told["archive"]["version"]) == ("challenger_model", "test")
    metrics = httpx.get(f"{service.address}/metrics").text
    assert 'credit_risk_cut_off{model="challenger_model"} 0.3\n' in metrics


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, "models: two are named credit_risk_model. Set `model_name` in the configuration of one."),
        ("a/b", "model_name is 'a/b': set 1 to 64 lower-case letters, digits or underscores."),
        (5, "model_name is '5': set 1 to 64 lower-case letters, digits or underscores."),
    ],
)
def test_name_that_can_not_be_stops_the_start(
    start_service: Callable[..., Service], archive_path: Path, name: Any, words: str
) -> None:
    """Two models of one name, or a name that can't stand in a path, are told in one line before anything is loaded."""
    configuration = {"archive": str(archive_path)} | ({} if name is None else {"model_name": name})
    other = {"class_path": "credit_risk_model.prediction.model.CreditRiskModel", "configuration": configuration}
    service = start_service(archive=str(archive_path), more_models=(other,))
    assert service.process.wait(30) == 1
    assert lines_of(service)[-1]["body"] == f"The service can't start: {words}"


def test_refused_archive_is_told_in_a_line(start_service: Callable[..., Service], tmp_path: Path) -> None:
    """What is wrong with it stands in the log, without the stack of where that was noticed."""
    service = start_service(archive=str(tmp_path / "1.zip"))
    service.wait_for("/api/health", status=503)
    text = service.log.read_text()
    assert "The model credit_risk_model is not loaded: 1.zip: no such file." in text
    assert "Traceback" not in text
