"""What nobody should send, sent to the service as it ships: each is refused as it should be, and nothing suffers."""

import json
import re
import threading
import time
from functools import partial

import pytest
from hostile_bodies import BATCHES, NAMES, SENT, VALUES
from hostile_cases import TABLE
from hostile_http import CONTENT_TYPES
from processes import Service, lines_of, threads
from raw_client import LENGTH, LOAN, check_it_serves, connected, post, predict_with, receive, send


@pytest.mark.parametrize("name", TABLE)
def test_hostile_input_is_answered_and_nothing_suffers(shipped: Service, name: str) -> None:
    """Each input gets its status, an error its shape and no long echo; then a loan and the probe are answered."""
    sent, status, words = TABLE[name]
    answer = send(shipped, sent)
    assert answer.status == status, answer
    if status >= 400 and not sent.startswith(b"HEAD"):
        error = json.loads(answer.content)
        assert error.keys() == {"type", "messages"}
        assert error["messages"]
        assert any(words in message for message in error["messages"]), error["messages"][:5]
        for message in error["messages"]:
            pieces = (message[start : start + 101].encode() for start in range(len(message) - 100))
            assert not any(piece in sent for piece in pieces), message
    check_it_serves(shipped)


@pytest.mark.parametrize(
    "identity",
    [
        'a","severity":"ERROR',
        "a\\n{}",
        "a%0d%0aSet-Cookie: b=c",
        "\x9b31m",
        "${jndi:ldap://x/a}",
        "<script>",
        "../../etc/passwd",
        "a\tb",
        "\x85\xa0",
        "x" * 10_000,
        "",
    ],
    ids=ascii,
)
def test_request_id_that_is_unfit_for_a_log_is_replaced(shipped: Service, identity: str) -> None:
    """Whatever else is sent as a request's id, the answer and the log have one of the shipped's own."""
    answer = send(shipped, predict_with(LENGTH, f"X-Request-ID: {identity}"))
    assert answer.status == 200
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def test_bad_requests_leave_a_connection_to_the_good(shipped: Service) -> None:
    """Where a request's end is certain, the next one on its connection is answered as if nothing had been."""
    rows = [row for group in (VALUES, NAMES, CONTENT_TYPES) for row in group.values() if row[1] in (400, 415)]
    with connected(shipped) as connection:
        for sent, status, _ in rows:
            connection.sendall(sent)
            assert receive(connection).status == status
            connection.sendall(post(LOAN))
            assert receive(connection).status == 200


def test_costliest_bodies_leave_the_probe_its_second(shipped: Service) -> None:
    """While several clients send the bodies that take longest to refuse, loans and the probe are answered."""
    bodies = [BATCHES[name][0] for name in ("300,000 empty loans", "1,000 loans of 150 names", "loan of 100,000 names")]
    end = time.monotonic() + 3
    statuses: set[int] = set()

    def burden(over: threading.Event, sent: bytes) -> None:
        while time.monotonic() < end and not over.is_set():
            statuses.add(send(shipped, sent).status)

    with threads(*(partial(burden, sent=body) for body in bodies * 4)):
        while time.monotonic() < end:
            check_it_serves(shipped)
    assert 400 in statuses
    assert statuses <= {400, 503}  # more than the configured number at once are sent away


def test_log_holds_whole_lines_without_what_was_sent(shipped: Service) -> None:
    """After all of the table each line of the log is one JSON object that the shipped meant, without a value sent."""
    for sent, _, _ in TABLE.values():
        send(shipped, sent)
    for byte in "\n\r\x00\x1b\x85":
        send(shipped, predict_with(LENGTH, f"X-Request-ID: {SENT}{byte}{{}}"))
    send(shipped, b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: last-of-the-table\r\n\r\n")
    lines_of(shipped, 1, request_id="last-of-the-table")
    text = shipped.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert all({"timestamp", "severity", "body", "otel.scope.name"} <= line.keys() for line in lines)
    assert {line["severity"] for line in lines} == {"INFO"}
    requests = [line for line in lines if line["body"] == "request"]
    assert len(requests) > len(TABLE) / 2
    assert all(re.fullmatch("[A-Za-z0-9._-]{1,64}", line["request_id"]) for line in requests)
    assert SENT not in text
    assert "73917391" not in text
