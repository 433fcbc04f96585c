"""What the service's log and metrics tell of its requests."""

import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from processes import Service, lines_of, wait_until
from raw_client import JSON, LOAN, PREDICTION

from credit_risk_model import archive
from credit_risk_model.examples import EXAMPLE_LOAN


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
    wait_until(lambda: gone() == before + 1)
    (line,) = lines_of(service, 1, request_id="gone")
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
    for name, status in (("logged", 200), ("refused", 400)):
        (line,) = lines_of(service, 1, request_id=name)
        assert (line["severity"], line["http.request.method"], line["url.path"], line["http.response.status_code"]) == (
            "INFO",
            "POST",
            PREDICTION,
            status,
        )
        assert 0 < line["milliseconds"] < 10_000
        assert line["model_version"] == "test"
    assert (line["reason"], line["fields"]) == ("invalid", ["term"])
    assert not [line for line in lines_of(service) if line.get("url.path", "").startswith("/api/health")]
    text = service.log.read_text()
    assert "71234" not in text
    assert "1234.56" not in text


def test_line_of_a_prediction_tells_decision_and_trace(service: Service) -> None:
    """Who follows a trace finds what was decided; what is no trace's id is left out."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for identity, of in (("traced", trace), ("untraced", "0" * 32)):
        headers = {**JSON, "X-Request-ID": identity, "traceparent": f"00-{of}-00f067aa0ba902b7-01"}
        answer = httpx.post(service.address + PREDICTION, content=LOAN, headers=headers).json()
    (traced,), (untraced,) = (lines_of(service, 1, request_id=identity) for identity in ("traced", "untraced"))
    assert (traced["trace_id"], traced["credit_risk"]) == (trace, answer["credit_risk"])
    assert "trace_id" not in untraced


def test_probes_are_logged_where_the_setting_says_so(start_service: Callable[..., Service], archive_path: Path) -> None:
    """With `log_probes`, health endpoints leave lines as all others do."""
    service = start_service(settings={"log_probes": True}, archive=str(archive_path))
    service.wait_for("/api/health/ready")
    assert lines_of(service, 1, **{"url.path": "/api/health/ready", "http.response.status_code": 200})


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
    names = (
        'credit_risk_predictions_total{credit_risk="',
        'credit_risk_probability_count{model="credit_risk_model",model_version="test"}',
        'credit_risk_prediction_duration_seconds_count{model="credit_risk_model"}',
        'credit_risk_refused_requests_total{model="credit_risk_model",reason="invalid",status="4xx"}',
        f'credit_risk_request_duration_seconds_count{{route="{PREDICTION}",status="2xx"}}',
        f'credit_risk_request_duration_seconds_count{{route="{PREDICTION}",status="4xx"}}',
    )
    wait_until(lambda: all(total(scrape(), name) > total(before, name) for name in names))
    after = scrape()
    for name in names:
        assert total(after, name) == total(before, name) + 1, name
    assert 0 < after["credit_risk_startup_duration_seconds"] < 60
    assert after["credit_risk_requests_in_flight"] == 1
    assert after["credit_risk_open_connections"] >= 1
    assert total(after, "credit_risk_build_info") == 1
    assert after["process_resident_memory_bytes"] > 1e7
    digest = archive.sha256(archive_path.read_bytes())
    assert after[f'credit_risk_model_info{{model="credit_risk_model",sha256="{digest}",version="test"}}'] == 1
