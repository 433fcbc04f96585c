"""Connections within bounds: `uvicorn --http credit_risk_model.service.connections:BoundedConnection ...`.

uvicorn bounds neither the time in which a request's headers arrive, nor their size, nor the number of connections; it
closes on clients that still send, who then see a reset in place of the answer; and its own errors are plain text. All
that is mended here and costs a request a few comparisons: one watchdog looks after all connections, and their order in
one dictionary tells which of them has been idle longest.
"""

import asyncio
import fcntl
import logging
import resource
import sys
import termios
from contextlib import suppress
from random import getrandbits
from time import monotonic
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from credit_risk_model.service import metrics
from credit_risk_model.service.accepting import Backlog
from credit_risk_model.service.answers import Refusal
from credit_risk_model.service.lingering import LingeringTransport
from credit_risk_model.service.logs import log_request
from credit_risk_model.service.settings import ServiceSettings

logger = logging.getLogger(__name__)

_WATCH_SECONDS = 0.5
_MOST_HEADERS = 100
_LONGEST_URL = 4096
# Requests that wait on one connection for the answer to the one before them.
_MOST_PIPELINED = 128
# Of what a refused client still sends. It is dropped unread, but read it must be.
_MOST_DISCARDED = 64 * 2**20
# Files that a process has open besides its connections.
_OTHER_FILES = 64
_AGAIN = [(b"retry-after", b"1")]

_HEADERS_OF_A_BODY = (b"content-length", b"transfer-encoding")

_MALFORMED = Refusal(400, "malformed", "MalformedRequest", ["The request is not valid HTTP."])
_HOST = Refusal(400, "malformed", "MalformedRequest", ["A request has one Host header."])
_CODING = Refusal(501, "coding", "NotImplemented", ["Of all transfer codings only chunked is understood."])
_SLOW = Refusal(408, "slow", "RequestTimeout", ["The headers did not arrive in time."])
_LONG_URL = Refusal(414, "long_url", "URITooLong", [f"The URL is longer than {_LONGEST_URL} bytes."])
_LARGE_HEADERS = Refusal(431, "large_headers", "HeadersTooLarge", ["The headers are too many or too large."])
_PIPELINED = Refusal(503, "busy", "ServiceBusy", ["Too many requests at once on one connection."], _AGAIN)
_FULL = Refusal(503, "busy", "ServiceBusy", ["Too many connections."], _AGAIN)


class Connections:
    """The connections of one server.

    Attributes:
        largest_headers: Bytes of a request's line and headers.
        idle: Those that have no request at work, the one that has been so longest first, with the time since when the
            client has been expected to do something.
    """

    def __init__(self, settings: ServiceSettings, server_state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        """Make room for as many as the settings allow."""
        self.largest_headers = settings.largest_headers
        self.idle: dict[BoundedConnection, float] = {}
        self._open = server_state.connections
        self._most = settings.connections
        self._seconds = settings.header_seconds
        self._loop = loop
        self._watching = False
        self._backlog: Backlog | None = None
        _allow_open_files(settings.connections + _OTHER_FILES)

    def admit(self, connection: "BoundedConnection") -> None:
        """Let a new connection in: where there are too many in place of the one that has been idle longest."""
        if self._backlog is None:
            port = connection.server[1] or 0 if connection.server else 0
            self._backlog = Backlog(self._loop, port, connection.config.ssl)
        self._backlog.accept(connection.another)
        if len(self._open) > self._most:
            longest = next(iter(self.idle), None)
            if longest is None:
                connection.refuse(_FULL)
                return
            longest.hang_up()
        self.idle[connection] = monotonic()
        if not self._watching:
            self._watching = True
            self._loop.call_later(_WATCH_SECONDS, self._watch)

    def _watch(self) -> None:
        """Close those whose time is over; goes on as long as there are any."""
        self._watching = bool(self._open)
        if self._watching:
            self._loop.call_later(_WATCH_SECONDS, self._watch)
        latest = monotonic() - self._seconds
        for connection in [connection for connection, since in self.idle.items() if since < latest]:
            connection.end_wait()


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection, within bounds."""

    transport: LingeringTransport  # stands before the one that uvicorn is given

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Make a connection; `app_state` may hold the service's settings under `service_settings`."""
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = None  # a request to change over to WebSockets is answered like any other
        if "connections" not in app_state:
            settings = app_state.get("service_settings") or ServiceSettings()
            app_state["connections"] = Connections(settings, server_state, self.loop)
        self._all: Connections = app_state["connections"]
        self._largest = self._all.largest_headers
        # Bytes received while the headers at hand, or the trailers, were not complete; more than they have, if others
        # came before them.
        self._unfinished = 0
        self._whole = True  # the last request whose headers are complete
        self._staying = False
        self._invalid = _MALFORMED
        self._refusing = False
        self._owed: Refusal | None = None
        self._discarded = 0
        self._unsent = 0
        self._ended = False
        self._at_work: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take the connection up, or refuse it."""
        super().connection_made(transport)
        self.transport = LingeringTransport(transport, self._expects_more, self._wait_for_close)
        self._all.admit(self)

    def another(self) -> "BoundedConnection":
        """Make a connection of the same server."""
        return BoundedConnection(self.config, self.server_state, self.app_state, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._all.idle.pop(self, None)
        if self._at_work is not None:  # uvicorn tells the last of several pipelined requests only
            self._at_work.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, in pieces no larger than headers may be."""
        if len(data) > self._largest:
            for start in range(0, len(data), self._largest):
                self.data_received(data[start : start + self._largest])
        elif self._refusing or self.transport.lingering:
            self._discarded += len(data)
            if self._discarded > _MOST_DISCARDED:
                self.transport.abort()
        else:
            self._parse(data)
            # uvicorn puts the method in when the headers are complete.
            if not self._refusing and self.scope is not None and not (self._whole and "method" in self.scope):
                self._await_more(len(data))

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError:  # or a bound that is broken
            self.refuse(self._invalid)

    def _await_more(self, received: int) -> None:
        """Bound headers that are not complete, and whatever of a body is none: extensions of chunks, and trailers."""
        if self._whole and not self._unfinished and self in self._all.idle:
            self._all.idle[self] = monotonic()
        self._unfinished += received
        if self._unfinished > 2 * self._largest:
            self.refuse(_LONG_URL if len(self.url) > _LONGEST_URL else _LARGE_HEADERS)

    def _stay(self, rest: bytes) -> None:
        """Go on after a request to change over to another protocol as if it were none, as any server may.

        The parser takes such a request to end with its headers. So another one, told only how long the body is, reads
        from there on.
        """
        if self.scope["method"] == "CONNECT":
            self._refusing = True
            self.cycle.keep_alive = False
            return
        framing = [b"%s: %s\r\n" % header for header in self.scope["headers"] if header[0] in _HEADERS_OF_A_BODY]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self._staying = True
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        self._staying = False
        if rest:
            self._parse(rest)

    def on_message_begin(self) -> None:
        """Start reading a request's headers."""
        if not self._staying:
            super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start a request, unless it breaks a bound: then the parser stops, and the request is refused."""
        if self._staying:
            return
        if len(self.url) > _LONGEST_URL:
            self._invalid = _LONG_URL
        # Headers that came in one piece are no larger than a piece.
        elif len(self.headers) > _MOST_HEADERS or (self._unfinished and self._headers_size() > self._largest):
            self._invalid = _LARGE_HEADERS
        elif len(self.pipeline) >= _MOST_PIPELINED:
            self._invalid = _PIPELINED
        else:
            self._check_headers()
        if self._invalid is not _MALFORMED:
            raise httptools.HttpParserError
        self._unfinished = 0
        super().on_headers_complete()
        self._whole = False
        self.headers = []  # what comes now are trailers, which are no headers of the request
        if not self.flow.write_paused:  # else it is waited for that the client reads, whatever it sends meanwhile
            self._all.idle.pop(self, None)

    def _check_headers(self) -> None:
        """Refuse what the parser lets pass, against RFC 9112."""
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._invalid = _CODING
        version = self.parser.get_http_version()
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            self._invalid = _HOST
        if version == "1.0":
            self.expect_100_continue = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is whole, unless it is one whose body the parser skips."""
        if self.parser.should_upgrade() and self.scope["method"] != "CONNECT":
            return
        self._unfinished = 0
        self._whole = True
        super().on_message_complete()

    def _headers_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_response_complete(self) -> None:
        """Wait for the next request, or answer what can't be one."""
        another = bool(self.pipeline)
        super().on_response_complete()
        if not another:
            self._all.idle[self] = monotonic()
            self._unsent = 0
            if self._owed is not None and not self.transport.is_closing():
                self._answer(self._owed)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Note which of several pipelined requests is at work."""
        self._at_work = cycle
        super()._start_asgi_task(cycle, app)

    def refuse(self, refusal: Refusal) -> None:
        """Read nothing more; answer with an error once all answers are given that are owed, and close."""
        self._refusing = True
        cycle = self.cycle
        if not self._whole and cycle.response_complete:  # the rest of a body whose request has its answer
            self.transport.close()
        elif cycle is None or cycle.response_complete:
            self._answer(refusal)
        elif cycle.more_body and not self.pipeline:  # the error lies within the body that is being read
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
            else:
                self._answer(refusal)
        else:
            if cycle.more_body:
                self.pipeline.popleft()
            self._owed = refusal

    def _answer(self, refusal: Refusal) -> None:
        identity = f"{getrandbits(64):016x}"
        metrics.refused.labels(refusal.reason).inc()
        log_request({"request_id": identity, "status": refusal.status, "reason": refusal.reason})
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(refusal.body)).encode()),
            (b"x-request-id", identity.encode()),
            (b"connection", b"close"),
            *refusal.headers,
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[refusal.status], *lines, b"\r\n", refusal.body]))
        self.transport.close()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # uvicorn always closes, so it returns nothing
        """Answer a client that has ended its side after whole requests; otherwise let the connection close."""
        self._ended = True
        cycle = self.cycle
        if self.transport.lingering or cycle is None or cycle.response_complete or cycle.more_body:
            return None
        cycle.keep_alive = False
        return True

    def _expects_more(self) -> bool:
        """Say whether the client may still be sending what nobody will read."""
        cycle = self.cycle
        return not self._ended and (self._refusing or bool(self.pipeline) or (cycle is not None and cycle.more_body))

    def _wait_for_close(self) -> None:
        """Read what the client still sends, until it closes."""
        self._all.idle[self] = monotonic()
        self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Note a client that does not read: it counts as idle."""
        super().pause_writing()
        self._all.idle[self] = monotonic()

    def resume_writing(self) -> None:
        """Note that it reads again."""
        super().resume_writing()
        self._unsent = 0
        if self.cycle is not None and not self.cycle.response_complete:
            self._all.idle.pop(self, None)

    def end_wait(self) -> None:
        """Close, since the client did not do in time what it was expected to do."""
        unsent = self._count_unsent()
        if unsent and unsent != self._unsent:  # it reads, if slowly
            self._unsent = unsent
            self._all.idle[self] = monotonic()
        elif unsent or self.transport.is_closing():
            self.transport.abort()
        elif self.timeout_keep_alive_task is None:  # else uvicorn counts the time between two requests
            if self.scope is not None and "method" not in self.scope:
                self.refuse(_SLOW)
            else:
                self.transport.abort()

    def _count_unsent(self) -> int:
        """Count the bytes of answers that the client has not taken, those that the system holds for it, too.

        The system may hold megabytes, so that only its part tells whether a client reads slowly or not at all.
        """
        held = bytearray(4)
        open_socket = self.transport.get_extra_info("socket")
        if open_socket is not None:
            with suppress(OSError, ValueError):  # closed, and not yet told so; or a system that can't tell
                fcntl.ioctl(open_socket.fileno(), termios.TIOCOUTQ, held)
        return self.transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    def hang_up(self) -> None:
        """Close for another connection's sake."""
        since = self._all.idle.pop(self)
        # An answer of a moment ago may still be on its way to the socket.
        if monotonic() - since < 1:
            self.transport.close_at_once()
            if self.transport.get_write_buffer_size():  # it closes when that is sent, which may be never
                self._all.idle[self] = since
        else:
            self.transport.abort()


def _allow_open_files(number: int) -> None:
    """Raise the process's own limit, which is often 1,024, as far as the system lets it."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < number:
        wanted = number if most == resource.RLIM_INFINITY else min(number, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        if wanted < number:
            logger.warning("fewer open files allowed than connections", extra={"fields": {"limit": wanted}})
