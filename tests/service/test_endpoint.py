"""Requests to the service's endpoints, and their answers, over HTTP and raw sockets."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from processes import Service, lines_of, threads, wait_until
from raw_client import JSON, LOAN, PREDICTION, exchange

from credit_risk_model import archive
from credit_risk_model.examples import EXAMPLE_LOAN


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
    fault, request = lines_of(service, 2, request_id=error_id)
    assert (fault["body"], fault["error.type"]) == ("fault", "RuntimeError")
    assert "models_for_tests.py" in fault["code.stacktrace"]
    assert (request["body"], request["http.response.status_code"]) == ("request", 500)
    assert "secret of a borrower" not in service.log.read_text()


def test_schema_exception_of_ml_base_is_a_400(service: Service) -> None:
    """A model may refuse what its schema lets pass, as the framework has it."""
    answer = httpx.post(f"{service.address}/api/models/choosy/prediction", json={})
    assert answer.status_code == 400
    assert answer.json() == {"type": "SchemaValidationError", "messages": ["not today"]}


def test_long_predictions_leave_the_service_free(service: Service, tmp_path: Path) -> None:
    """While long predictions are at work, others are answered at once; more than the limit are sent away."""
    slow = f"{service.address}/api/models/slow/prediction"
    answers: list[httpx.Response] = []
    end = tmp_path / "end"

    def ask(_: threading.Event) -> None:
        answers.append(httpx.post(slow, json={"until": str(end)}, timeout=60))

    with threads(ask, ask), ExitStack() as at_the_end:
        at_the_end.callback(end.touch)  # the long ones last until here
        wait_until(lambda: "\ncredit_risk_requests_in_flight 3.0\n" in httpx.get(f"{service.address}/metrics").text)
        assert httpx.get(f"{service.address}/api/health").status_code == 200
        assert httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON).status_code == 200
        refused = httpx.post(slow, json={"seconds": 0})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert not answers
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


def test_answer_that_is_no_json_is_a_fault_too(service: Service) -> None:
    """What a model answers and JSON can't hold is told as any fault of ours."""
    answer = httpx.post(f"{service.address}/api/models/odd/prediction", json={})
    assert (answer.status_code, answer.json()["type"]) == (500, "ServiceError")
    assert "x-request-id" in answer.headers
