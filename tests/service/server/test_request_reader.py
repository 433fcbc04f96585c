"""Bytes become requests, within bounds."""

import re
import socket
import time
from contextlib import suppress

import httpx
import pytest
from processes import Service
from raw_client import (
    CHUNK,
    CHUNKED,
    GOOD,
    HALF_SENT,
    HEALTH,
    JSON,
    LENGTH,
    LOAN,
    PREDICTION,
    check_it_serves,
    connected,
    exchange,
    one_answer,
    post,
    predict_with,
    receive,
    refusal,
    request,
    rest_of,
    send,
)


def test_headers_in_pieces_within_the_time_are_read(service: Service) -> None:
    """Headers may come slowly, if they come."""
    with connected(service) as connection:
        for number in range(0, len(GOOD), 100):
            connection.sendall(GOOD[number : number + 100])
            time.sleep(0.02)
        assert one_answer(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        pytest.param(b"GET /" + b"a" * 4096 + HEALTH[15:], 414, "URITooLong", id="URL"),
        pytest.param(b"GET /" + b"a" * 500_000 + HEALTH[15:], 414, "URITooLong", id="very long URL"),
        pytest.param(b"GET /?" + b"a" * 500_000, 414, "URITooLong", id="URL without end"),
        pytest.param(HEALTH[:-2] + b"A: b\r\n" * 100 + b"\r\n", 431, "HeadersTooLarge", id="101 headers"),
        pytest.param(HEALTH[:-2] + b"A: b\r\n" * 100_000, 431, "HeadersTooLarge", id="headers without end"),
        pytest.param(HEALTH[:-2] + b"A: " + b"b" * 16_384 + b"\r\n\r\n", 431, "HeadersTooLarge", id="large header"),
        pytest.param(HEALTH[:-2] + b"A: " + b"b" * 500_000, 431, "HeadersTooLarge", id="header without end"),
        pytest.param(HEALTH[:-2] + b"A" * 500_000, 431, "HeadersTooLarge", id="name without end"),
    ],
)
def test_too_much_before_the_body_is_refused(service: Service, request_: bytes, status: int, kind: str) -> None:
    """URL and headers have bounds, also where they never end; the client sees why."""
    found = refusal(exchange(service, request_))
    assert found[:2] == (status, kind)
    assert found[2][b"connection"] == b"close"


def test_headers_within_the_bounds_are_read(service: Service) -> None:
    """A long URL, many headers and large ones are read as long as they keep within the bounds."""
    for sent in (
        HEALTH.replace(b" HTTP", b"?" + b"a" * 4000 + b" HTTP"),
        HEALTH[:-2] + b"A: b\r\n" * 99 + b"\r\n",
        HEALTH[:-2] + b"A: " + b"b" * 16_000 + b"\r\n\r\n",
    ):
        with connected(service, sent) as connection:
            assert one_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_large_body_does_not_count_as_headers(service: Service) -> None:
    """What is bounded for headers leaves bodies alone, and the request after them on the same connection."""
    body = LOAN + b" " * 60_000
    head = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with connected(service, head + body) as connection:
        assert one_answer(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(HEALTH)
        assert one_answer(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"NONSENSE\r\n\r\n", id="no HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(HEALTH[:-2] + b"A\x00: b\r\n\r\n", id="null byte"),
        pytest.param(b"GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n", id="URL"),
        pytest.param(HALF_SENT.replace(b"100", b"-1"), id="negative length"),
        pytest.param(HALF_SENT.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked"), id="chunk size"),
    ],
)
def test_what_is_no_http_is_a_400_in_the_one_shape(service: Service, request_: bytes) -> None:
    """What the parser refuses is told as every error is, also where a body breaks off into nonsense."""
    assert refusal(exchange(service, request_))[:2] == (400, "MalformedRequest")


def test_nonsense_does_not_overtake_answers_that_are_owed(service: Service) -> None:
    """Behind requests at work, nonsense is refused when they are answered, in their order."""
    body = b'{"seconds": 0.3}'
    slow = (
        f"POST /api/models/slow/prediction HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    answers = exchange(service, slow + HEALTH + b"NONSENSE\r\n\r\n")
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"400"]
    broken_body = HALF_SENT.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
    answers = exchange(service, slow + broken_body)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    """However many requests come at once on one connection, each gets its answer."""
    unknown = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(service, (GOOD + unknown) * 50) as connection:
        connection.shutdown(socket.SHUT_WR)
        answers = rest_of(connection)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404"] * 50
    last = HEALTH[:-2] + b"Connection: close\r\n\r\n"
    answers = exchange(service, HEALTH * 999 + last)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 1000


def test_too_large_a_body_is_a_413_unread(service: Service) -> None:
    """A body that says it is larger than the limit is refused before any of it is sent."""
    request = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n".encode()
    assert exchange(service, request).startswith(b"HTTP/1.1 413 ")


def test_too_large_a_chunked_body_is_a_413(service: Service) -> None:
    """A body of no stated length is refused once it has passed the limit, not when it ends."""
    head = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    assert exchange(service, head + chunk * 5).startswith(b"HTTP/1.1 413 ")


def test_body_in_pieces_is_read_whole(service: Service) -> None:
    """A body that arrives in several packets is the same loan."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        head = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(LOAN)}\r\n\r\n".encode()
        for piece in (head, LOAN[:10], LOAN[10:200], LOAN[200:]):
            connection.sendall(piece)
            time.sleep(0.05)
        answer = connection.recv(65536)
    expected = httpx.post(service.address + PREDICTION, content=LOAN, headers=JSON).content
    assert answer.endswith(expected)


def test_a_hundred_pipelined_requests_are_answered_in_order(shipped: Service) -> None:
    """Requests sent at once on one connection get their answers, each its own, in the order of the requests."""
    names = [f"pipelined-{number}" for number in range(100)]
    with connected(shipped) as connection:
        connection.sendall(b"".join(predict_with(LENGTH, f"X-Request-ID: {name}") for name in names))
        received = b""
        while received.count(b'"risk_probability"') < len(names) and (part := connection.recv(65536)):
            received += part
    assert re.findall(rb"x-request-id: (\S+)", received) == [name.encode() for name in names]
    assert received.count(b"HTTP/1.1 200 ") == len(names)


def test_request_to_change_protocols_is_answered_as_if_it_were_none(shipped: Service) -> None:
    """A client that offers HTTP/2, as Java's and curl's do, is answered in HTTP/1.1 and keeps its connection."""
    hidden = request("GET /api/models HTTP/1.1", "Host: x")
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA")
    with connected(shipped) as connection:
        for _ in range(3):
            head = predict_with(LENGTH, *upgrade, body=b"")
            for start in range(0, len(head), 100):
                connection.sendall(head[start : start + 100])
            connection.sendall(LOAN[:50])
            time.sleep(0.05)
            connection.sendall(LOAN[50:])
            assert receive(connection).status == 200
        # Its body is its body, whatever it looks like: a proxy took it for that, too.
        connection.sendall(predict_with(f"Content-Length: {len(hidden)}", *upgrade, body=hidden) + post(LOAN))
        received = b""  # both answers, which may come in one piece
        while b"risk_probability" not in received and (part := connection.recv(65536)):
            received += part
        assert received.startswith(b"HTTP/1.1 400")
        assert received.count(b"HTTP/1.1 ") == 2
    check_it_serves(shipped)


def test_trailers_are_no_headers(shipped: Service) -> None:
    """What follows a body in chunks can't name a request's id, or the kind of its body."""
    trailers = b"X-Request-ID: trailing\r\nContent-Type: text/plain\r\n"
    answer = send(shipped, predict_with(CHUNKED, body=CHUNK + b"0\r\n" + trailers + b"\r\n"))
    assert answer.status == 200
    assert answer.headers["x-request-id"] != "trailing"


def test_trailers_of_an_answered_request_are_bounded_too(shipped: Service) -> None:
    """A request may be answered before its body has come; what still comes is no second reason to answer."""
    with connected(shipped) as connection:
        connection.sendall(request("POST /nothing HTTP/1.1", "Host: x", CHUNKED, body=b"2\r\n{}\r\n"))
        assert receive(connection).status == 404
        with suppress(ConnectionError):
            connection.sendall(b"0\r\n" + b"X-A: a\r\n" * 10_000)
        assert receive(connection).status == 0
    check_it_serves(shipped)
