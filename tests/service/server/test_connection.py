"""What one client may do, how long it may take, and what is left of it."""

import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from hostile_bodies import BATCH
from processes import Service
from raw_client import (
    CHUNK,
    CHUNKED,
    GOOD,
    HALF_SENT,
    HEALTH,
    LENGTH,
    LOAN,
    OPENAPI,
    PREDICTION,
    check_it_serves,
    connected,
    exchange,
    fill,
    one_answer,
    open_files,
    post,
    predict_with,
    receive,
    refusal,
    request,
    rest_of,
    wait_for_closed,
)

from credit_risk_model.examples import EXAMPLE_LOAN


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"], ids=["nothing", "empty lines"])
def test_connection_on_which_no_request_begins_is_closed(service: Service, sent: bytes) -> None:
    """Without a request there is nothing to answer."""
    began = time.monotonic()
    assert exchange(service, sent) == b""
    assert 0.9 < time.monotonic() - began < 3


def test_slow_headers_are_a_408(service: Service) -> None:
    """A request whose headers do not arrive in time is answered, and the connection closed."""
    began = time.monotonic()
    status, kind, headers = refusal(exchange(service, HEALTH[:-2]))
    assert 0.9 < time.monotonic() - began < 3
    assert (status, kind, headers[b"connection"]) == (408, "RequestTimeout", b"close")
    assert len(headers[b"x-request-id"]) == 16


@pytest.mark.parametrize("already", [b"", HEALTH], ids=["first request", "second request"])
@pytest.mark.parametrize(("begin", "more"), [(b"GET /", b"a"), (HEALTH[:-2], b"A: b\r\n")], ids=["URL", "headers"])
def test_trickled_headers_are_a_408(service: Service, already: bytes, begin: bytes, more: bytes) -> None:
    """It is the whole that counts: a little now and then gains no time, neither at first nor on a used connection."""
    with connected(service, already) as connection:
        if already:
            one_answer(connection)
            time.sleep(0.7)
        connection.sendall(begin)
        connection.settimeout(0.1)
        began = time.monotonic()
        answer = b""
        while not answer and time.monotonic() - began < 5:
            connection.sendall(more)
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
    assert 0.9 < time.monotonic() - began < 3
    assert refusal(answer)[0] == 408


def test_kept_connection_may_wait_between_requests(service: Service) -> None:
    """The time for headers does not count while a client that was answered has nothing to ask."""
    with connected(service, HEALTH) as connection:
        one_answer(connection)
        time.sleep(2)
        connection.sendall(HEALTH[:30])
        time.sleep(0.6)
        connection.sendall(HEALTH[30:])
        assert one_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_half_closed_client_gets_its_answer(service: Service) -> None:
    """A client that has ended its side after a whole request is answered, also by a model that takes long."""
    body = b'{"seconds": 0.3}'
    slow = (
        f"POST /api/models/slow/prediction HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    for sent in (GOOD, slow):
        with connected(service, sent) as connection:
            connection.shutdown(socket.SHUT_WR)
            answer = rest_of(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
    with connected(service, HALF_SENT) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert rest_of(connection) == b""


@pytest.mark.parametrize("chunked", [False, True])
def test_client_that_sends_before_it_reads_sees_the_413(service: Service, chunked: bool) -> None:
    """A client that sends all of a huge body and reads only then finds the answer, not a reset."""
    size = 20_000_000
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    head = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\n".encode() + length + b"\r\n\r\n"
    body = b"%x\r\n" % size + b" " * size + b"\r\n0\r\n\r\n" if chunked else b" " * size
    began = time.monotonic()
    answer = exchange(service, head + body)
    assert refusal(answer)[:2] == (413, "RequestTooLarge")
    assert time.monotonic() - began < 5


def test_what_a_refused_client_may_send_is_bounded(service: Service) -> None:
    """A client that never stops sending is cut off, and one that never closes waited for no longer than for headers."""
    head = f"POST {PREDICTION} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n".encode()
    sent = 0
    with connected(service, head) as connection, pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012
        while sent < 10**9:  # until the service cuts off
            sent += connection.send(b" " * 2**20)
    assert 60_000_000 < sent < 10**9
    with connected(service, head) as connection:
        assert rest_of(connection).startswith(b"HTTP/1.1 413 ")
        time.sleep(2)
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012  # the first byte brings the reset
            for _ in range(5):
                connection.sendall(b" ")
                time.sleep(0.05)


def test_client_that_does_not_read_is_cut_off(service: Service) -> None:
    """Answers that nobody reads are not kept: of many requests only what fits into the sockets is answered."""
    before = open_files(service)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", service.port))
        connection.settimeout(2)
        deadline = time.monotonic() + 20
        with pytest.raises(OSError, match=r"reset|pipe|timed out"):  # noqa: PT012  # sends until nothing goes any more
            while time.monotonic() < deadline:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        wait_for_closed(service, before)
    assert service.get("/api/health")[0] == 200


def test_client_that_reads_slowly_gets_all(service: Service) -> None:
    """Answers that take longer than the time for headers are waited for as long as some of them goes out.

    So slowly that for four times as long as headers may take the service has more to send than it likes to hold.
    """
    received = bytearray()
    with socket.socket() as connection:
        fill(connection, service.port)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        began = time.monotonic()
        while part := connection.recv(2048 if time.monotonic() - began < 4 else 16384):
            received += part
            if time.monotonic() - began < 4:
                time.sleep(0.1)
    assert received.count(b"HTTP/1.1 200 ") == 201
    assert received.endswith(b"}")


def test_client_that_reads_all_after_a_while_gets_all_each_time(service: Service) -> None:
    """What lay unread for longer than the time for headers, and then was read, is not held against a client later."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", service.port))
        connection.settimeout(10)
        connection.sendall(OPENAPI)
        size = len(one_answer(connection))
        for _ in range(4):
            for _ in range(2):
                connection.sendall(OPENAPI * 110)
                time.sleep(0.3)
            time.sleep(1.5)
            received = bytearray()
            while len(received) < 220 * size and (part := connection.recv(65536)):
                received += part
            assert received.count(b"HTTP/1.1 200 ") == 220


def test_client_that_sends_but_does_not_read_is_cut_off(service: Service) -> None:
    """Further requests are no sign that a client reads; and once it is gone, others are looked after as before."""
    before = open_files(service)
    with socket.socket() as connection:
        fill(connection, service.port)
        connection.sendall(OPENAPI * 20)
        assert open_files(service) > before
        wait_for_closed(service, before)
    with connected(service) as silent:
        silent.settimeout(4)
        assert rest_of(silent) == b""


def test_aborted_connections_leave_nothing(service: Service) -> None:
    """Connections that are reset in the midst of things leave no open file and no place taken."""
    before = open_files(service)
    for sent in (b"", HEALTH[:9], HALF_SENT, GOOD, b"X Y", HEALTH * 3) * 5:
        with connected(service, sent) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.5)
    assert open_files(service) <= before
    assert httpx.post(service.address + PREDICTION, json=EXAMPLE_LOAN).status_code == 200


def test_old_connection_is_closed_with_an_answer(start_service: Callable[..., Service], archive_path: Path) -> None:
    """Clients that keep their connections are led to new replicas by and by: none of their requests is lost."""
    service = start_service(settings={"max_connection_age_seconds": 1}, archive=str(archive_path))
    service.wait_for("/api/health/ready")
    with connected(service) as connection:
        began = time.monotonic()
        answer = b""
        while b"connection: close" not in answer:
            assert time.monotonic() - began < 5
            connection.sendall(HEALTH)
            answer = one_answer(connection)
            assert answer.startswith(b"HTTP/1.1 200 ")
            time.sleep(0.02)
        assert 0.75 < time.monotonic() - began < 2
        assert connection.recv(1) == b""


def test_unfinished_requests_end_in_time(shipped: Service) -> None:
    """Bodies that stop or trickle are refused after the configured ten seconds, and meanwhile others are answered."""
    unfinished = {
        "body shorter than its length": predict_with("Content-Length: 1000"),
        "no body": predict_with(LENGTH, body=b""),
        "chunk without its end": predict_with(CHUNKED, body=CHUNK),
        "chunk size without its end": predict_with(CHUNKED, body=b"5"),
        "batch shorter than its length": request(
            f"POST {BATCH} HTTP/1.1", "Host: x", "Content-Length: 900000", body=b"[" * 500_000
        ),
    }
    with ExitStack() as stack:
        connections = {name: stack.enter_context(connected(shipped)) for name in unfinished}
        trickling = stack.enter_context(connected(shipped))
        for name, connection in connections.items():
            connection.sendall(unfinished[name])
        trickling.sendall(predict_with(LENGTH, body=b""))
        began = time.monotonic()
        while time.monotonic() - began < 8:
            trickling.sendall(b" ")
            check_it_serves(shipped)
            time.sleep(0.5)
        for name, connection in {**connections, "trickling": trickling}.items():
            answer = receive(connection)
            assert (answer.status, answer.headers["connection"]) == (408, "close"), name
        assert 9 < time.monotonic() - began < 13


def test_connections_reset_in_the_middle_leave_nothing(shipped: Service) -> None:
    """Clients that vanish in a head, in a body, or before they have read their answer leave neither fault nor file."""
    files = open_files(shipped)
    for number in range(300):
        with connected(shipped) as connection:
            sent = post(LOAN)
            connection.sendall((sent[:20], sent[:-50], sent, sent * 20)[number % 4])
            # Closing then resets, instead of a polite end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    check_it_serves(shipped)
    wait_for_closed(shipped, files + 1)


def test_clients_that_do_not_read_keep_nobody_waiting(shipped: Service) -> None:
    """Clients that ask again and again and read nothing are not answered without end, and others are answered."""
    metadata = request("GET /api/models/credit_risk_model/metadata HTTP/1.1", "Host: x") * 100
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(connected(shipped, seconds=0.2))
            with suppress(TimeoutError, ConnectionError):
                for _ in range(100):
                    connection.sendall(metadata)
        check_it_serves(shipped)
