"""One client's connection: HTTP/1.1 within bounds, one request at work at a time.

uvicorn's own protocol bounds neither the time in which a request's headers and body arrive, nor their size; it starts
a request before its body is there, and answers to several before the first is read; it closes on clients that still
send, who then see a reset in place of the answer; and its own errors are plain text. Here a request is started when all
of it has arrived, and the next one when the answer before it has left. Of uvicorn remains what writes an answer.
"""

import asyncio
import fcntl
import logging
import sys
import termios
import urllib.parse
from collections import deque
from contextlib import suppress
from enum import Enum
from random import getrandbits
from time import monotonic
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from credit_risk_model.service import metrics
from credit_risk_model.service.answers import Refusal
from credit_risk_model.service.logs import log_request
from credit_risk_model.service.requests import too_large

if TYPE_CHECKING:
    from credit_risk_model.service.server.connections import Connections

_logger = logging.getLogger("uvicorn.error")

_MAX_HEADERS = 100
_MAX_URL_BYTES = 4096
# Of what is parsed in one go: fifty small requests of a client that pipelines. Headers that come in one piece are
# within their bound, which is larger.
_PIECE_BYTES = 2048
# Of what a refused client still sends. It is dropped unread, but read it must be.
_MAX_DISCARDED_BYTES = 64 * 2**20
_HEADERS_OF_A_BODY = (b"content-length", b"transfer-encoding")
# Whatever else a name of a host may hold, none of these: they would make a URL of ours lead elsewhere.
_NOT_IN_A_HOST = frozenset(b'/@\\?# \t"<>^`{|}')

AGAIN = [(b"retry-after", b"1")]
_MALFORMED = Refusal(400, "malformed", "MalformedRequest", ["The request is not valid HTTP."])
_HOST = Refusal(400, "malformed", "MalformedRequest", ["A request has one Host header, with a host and a port."])
_VERSION = Refusal(400, "malformed", "MalformedRequest", ["The request is not in HTTP/1.1 or HTTP/1.0."])
_CODING = Refusal(501, "coding", "NotImplemented", ["Of all transfer codings only chunked is understood."])
_SLOW_HEADERS = Refusal(408, "slow", "RequestTimeout", ["The headers did not arrive in time."])
_SLOW_BODY = Refusal(408, "slow", "RequestTimeout", ["The body did not arrive in time."])
_LONG_URL = Refusal(414, "long_url", "URITooLong", [f"The URL is longer than {_MAX_URL_BYTES} bytes."])
_LARGE_HEADERS = Refusal(431, "large_headers", "HeadersTooLarge", ["The headers are too many or too large."])
FULL = Refusal(503, "busy", "ServiceBusy", ["Too many connections."], AGAIN)


class State(Enum):
    """What a connection waits for."""

    IDLE = "the next request"
    HEADERS = "the rest of a request's line and headers"
    BODY = "the rest of a request's body"
    ANSWERING = "a request at work, or a client that does not read its answer"
    LINGERING = "the client to close, after the last answer; what it still sends is dropped"
    CLOSED = "nothing"


class _Request:
    """A request as it arrives.

    Attributes:
        refusal: Why it is refused; its body is then not kept.
    """

    __slots__ = ("body", "expects_continue", "keep_alive", "max_body_bytes", "refusal", "scope")

    def __init__(self, scope: dict[str, Any], keep_alive: bool, expects_continue: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.max_body_bytes = 0
        self.refusal: Refusal | None = None
        self.body = bytearray()


class Connection(asyncio.Protocol):
    """A connection.

    Attributes:
        state: What it waits for.
        asked: Whether a whole request has come by it.
        waiting: Among whom it waits; None while it does not.
        received: Bytes of the body that is arriving.
    """

    def __init__(self, connections: "Connections") -> None:
        """Make a connection of a server."""
        self.state = State.IDLE
        self.asked = False
        self.waiting: dict[Connection, float] | None = None
        self._all = connections
        self._parser = self._make_parser()
        self._queue: deque[_Request] = deque()  # whole requests that wait for the one at work
        self._cycle: RequestResponseCycle | None = None  # the one at work
        self._arriving: _Request | None = None  # the one whose headers are complete and whose body is not
        self._begun = False  # whether one has begun whose headers are not complete
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        # Bytes received while headers, or what of a body is none (extensions of chunks, trailers), are not complete.
        self._unfinished = 0
        self._held = b""  # received while a request was at work, and not parsed yet
        self._broken: Refusal | None = None  # what ends the connection once all answers are given
        self._breach = _MALFORMED  # what is wrong where the parser stops
        self._expects_continue = False
        self._resumed = False  # a parser that reads on after a request to change protocols
        self._ended = False  # whether the client has closed its side
        self._discarded = 0
        self._unsent = 0

    @property
    def received(self) -> int:
        """Bytes of the body that is arriving."""
        return len(self._arriving.body) if self._arriving is not None else 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it always is one
        """Take the connection up, or refuse it."""
        self._transport = transport
        self.write = transport.write  # bound, since the answers are written by it
        self._flow = FlowControl(transport)
        self._addresses = {
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
            "scheme": "https" if is_ssl(transport) else "http",
        }
        self._all.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.state = State.CLOSED
        self._all.forget(self)
        self._queue.clear()
        if self._cycle is not None:
            self._cycle.disconnected = True
            self._cycle.message_event.set()
        self._flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse what came; what comes while a request is at work waits, and so does the client."""
        if self.state is State.ANSWERING:
            self._held += data
            self._flow.pause_reading()
        elif self.state is State.LINGERING:
            self._discarded += len(data)
            if self._discarded > _MAX_DISCARDED_BYTES:
                self._transport.abort()
        else:
            self._read(data)

    def eof_received(self) -> bool:
        """Answer a client that has ended its side after whole requests; otherwise let the connection close."""
        self._ended = True
        return self.state is State.ANSWERING

    def _read(self, data: bytes) -> None:
        """Parse in pieces, as long as no request is at work."""
        for start in range(0, len(data), _PIECE_BYTES):
            if self.state is State.ANSWERING:
                self._held = data[start:] + self._held
                self._flow.pause_reading()
                return
            if self.state in (State.LINGERING, State.CLOSED):
                return
            self._parse(data[start : start + _PIECE_BYTES])
            self._continue()

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._resume(piece[upgrade.args[0] :])
        except httptools.HttpParserError:  # or a bound that is broken
            self._break_off(self._breach)
        if self._begun or self._arriving is not None:
            self._unfinished += len(piece)
            if self._unfinished > 2 * self._all.max_header_bytes:
                self._break_off(_LONG_URL if len(self._url) > _MAX_URL_BYTES else _LARGE_HEADERS)

    def _make_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # A request after one that asked to close is still to be parsed, and then not answered.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _resume(self, rest: bytes) -> None:
        """Go on after a request to change over to another protocol as if it were none, as any server may.

        The parser takes such a request to end with its headers. So another one, told only how long the body is, reads
        from there on.
        """
        if self._arriving is None:  # CONNECT, which has no body
            self._queue[-1].keep_alive = False
            return
        framing = [b"%s: %s\r\n" % header for header in self._headers if header[0] in _HEADERS_OF_A_BODY]
        self._headers = []
        self._parser = self._make_parser()
        self._resumed = True
        self._parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        self._resumed = False
        if rest:
            self._parse(rest)

    def on_message_begin(self) -> None:
        """Start reading a request's headers."""
        if not self._resumed:
            self._begun = True
            self._url = b""
            self._headers = []

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        if not self._resumed:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is none."""
        if self._begun:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Decide on a request, unless it breaks a bound: then the parser stops."""
        if self._resumed:
            return
        version = self._parser.get_http_version()
        self._check_headers(version)
        if self._breach is not _MALFORMED:
            raise httptools.HttpParserError
        url = httptools.parse_url(self._url)
        root_path = self._all.config.root_path
        raw_path = root_path.encode() + url.path
        path = raw_path.decode("ascii")
        scope = {
            "type": "http",
            "asgi": {"version": self._all.config.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            **self._addresses,
            "method": self._parser.get_method().decode(),
            "root_path": root_path,
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "headers": self._headers,
            "state": {},
        }
        request = _Request(scope, version != "1.0" and self._parser.should_keep_alive(), self._expects_continue)
        try:
            request.max_body_bytes = self._all.served.admit(scope)
        except Refusal as refusal:
            request.refusal = refusal
        self._begun = False
        self._unfinished = 0
        self._arriving = request

    def _check_headers(self, version: str) -> None:
        """Find what the parser lets pass against RFC 9112, or beyond a bound; in one pass, for it is each request's."""
        hosts, self._expects_continue = 0, False
        for name, value in self._headers:
            if name == b"host":
                hosts += 1
                if not _NOT_IN_A_HOST.isdisjoint(value):
                    self._breach = _HOST
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._breach = _CODING
            elif name == b"expect" and value.lower() == b"100-continue":
                self._expects_continue = version != "1.0"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            self._breach = _HOST
        if version not in ("1.1", "1.0"):
            self._breach = _VERSION
        # Headers that came in one piece are within their bound.
        if len(self._headers) > _MAX_HEADERS or (
            self._unfinished and self._headers_size() > self._all.max_header_bytes
        ):
            self._breach = _LARGE_HEADERS
        if len(self._url) > _MAX_URL_BYTES:
            self._breach = _LONG_URL

    def _headers_size(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, and drop what is too much."""
        self._unfinished = 0
        request = self._arriving
        assert request is not None
        if request.refusal is None:
            request.body += body
            if len(request.body) > request.max_body_bytes:
                request.refusal = too_large(request.max_body_bytes)
                request.body = bytearray()

    def on_message_complete(self) -> None:
        """Queue a request that is whole, unless it is one whose body the parser skips."""
        request = self._arriving
        assert request is not None
        if self._parser.should_upgrade() and request.scope["method"] != "CONNECT":
            return
        self._arriving = None
        self._unfinished = 0
        self._queue.append(request)

    def _break_off(self, refusal: Refusal) -> None:
        """Read nothing more; refuse the request that is arriving, or else the next."""
        self._broken = refusal
        self._begun = False
        if self._arriving is not None and self._arriving.refusal is None:
            self._arriving.refusal = refusal

    def _continue(self) -> None:
        """Do what is next, while no request is at work."""
        if self._queue:
            self._start(self._queue.popleft())
        elif self._arriving is not None and self._arriving.refusal is not None:
            request, self._arriving = self._arriving, None
            request.keep_alive = False  # the rest of its body is not waited for
            self._broken = request.refusal
            self._start(request)
        elif self._broken is not None:
            self._answer_unread(self._broken)
        elif self._arriving is not None:
            if self._arriving.expects_continue and not self._arriving.body:
                self._arriving.expects_continue = False
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._wait(State.BODY)
        else:
            self._wait(State.HEADERS if self._begun else State.IDLE)

    def _wait(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._all.wait(self)

    def _start(self, request: _Request) -> None:
        """Let the application answer a request."""
        self.state = State.ANSWERING
        self.asked = True
        self._all.go_on(self)
        if request.refusal is not None:
            request.scope["refusal"] = request.refusal
        self._cycle = cycle = RequestResponseCycle(
            scope=request.scope,  # type: ignore[arg-type]  # what uvicorn types more narrowly than ASGI
            transport=self,  # type: ignore[arg-type]  # of which it uses write, close and is_closing
            flow=self._flow,
            logger=_logger,
            access_logger=_logger,
            access_log=False,
            default_headers=self._all.state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=request.keep_alive and not self._all.draining,
            on_response=self._finish,
        )
        cycle.body = request.body
        cycle.more_body = False
        cycle.message_event.set()
        task = self._all.loop.create_task(cycle.run_asgi(self._all.config.loaded_app))
        self._all.state.tasks.add(task)
        task.add_done_callback(self._all.state.tasks.discard)

    def _finish(self) -> None:
        """Go on after an answer, once it has left; to be called when it is complete."""
        self._all.state.total_requests += 1
        self._cycle = None
        if self.state is State.ANSWERING and not self._flow.write_paused:
            self._go_on()

    def _go_on(self) -> None:
        """Start the next request that waits, or read on."""
        self._unsent = 0
        if self._queue:
            self._start(self._queue.popleft())
            return
        self.state = State.IDLE
        self._all.wait(self)
        self._flow.resume_reading()
        held, self._held = self._held, b""
        if held and self._broken is None:
            self._read(held)
        elif self._ended and self._broken is None:
            self._transport.close()
        else:
            self._continue()

    def _answer_unread(self, refusal: Refusal) -> None:
        """Answer what never became a request, and close."""
        identity = f"{getrandbits(64):016x}"
        metrics.refused.labels(refusal.reason).inc()
        log_request({"request_id": identity, "status": refusal.status, "reason": refusal.reason})
        headers = [
            *self._all.state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(refusal.body)).encode()),
            (b"x-request-id", identity.encode()),
            (b"connection", b"close"),
            *refusal.headers,
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.write(b"".join([STATUS_LINE[refusal.status], *lines, b"\r\n", refusal.body]))
        self.close()

    def is_closing(self) -> bool:
        """Say whether nothing more is to be written."""
        return self.state in (State.LINGERING, State.CLOSED) or self._transport.is_closing()

    def close(self) -> None:
        """Close, once the client can have read its answer.

        Closing a socket that holds unread data makes the system reset the connection, and the answer is lost with it.
        So where more may come, only the sending side is closed, and what comes is dropped until the client closes too,
        or has sent too much or waited too long.
        """
        more = self._broken is not None or self._queue or self._held or self._arriving is not None
        lingers = more and not (self._ended or self._all.ending or self.is_closing())
        self.state = State.LINGERING if lingers else State.CLOSED
        self._all.wait(self)  # also for what is still to be sent
        if not lingers:
            self._transport.close()
            return
        self._flow.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def pause_writing(self) -> None:
        """Note a client that does not read."""
        self._flow.pause_writing()
        self._all.wait(self)

    def resume_writing(self) -> None:
        """Note that it reads again."""
        self._flow.resume_writing()
        self._unsent = 0
        if self.state is State.ANSWERING:
            self._all.go_on(self)
            if self._cycle is None:
                self._go_on()

    def end_wait(self) -> None:
        """Refuse or close, since the client did not do in time what it was expected to do."""
        unsent = self._count_unsent()
        if unsent and unsent != self._unsent:  # it reads, if slowly
            self._unsent = unsent
            self._all.wait(self)
        elif self.state is State.HEADERS:
            self._break_off(_SLOW_HEADERS)
            self._continue()
        elif self.state is State.BODY:
            self.refuse_body()
        else:
            self._transport.abort()

    def refuse_body(self) -> None:
        """Refuse the request whose body is arriving."""
        self._break_off(_SLOW_BODY)
        self._continue()

    def refuse(self, refusal: Refusal) -> None:
        """Refuse the connection."""
        self._break_off(refusal)
        self._continue()

    def _count_unsent(self) -> int:
        """Count the bytes of answers that the client has not taken, those that the system holds for it, too.

        The system may hold megabytes, so that only its part tells whether a client reads slowly or not at all.
        """
        held = bytearray(4)
        open_socket = self._transport.get_extra_info("socket")
        if open_socket is not None:
            with suppress(OSError, ValueError):  # closed, and not yet told so; or a system that can't tell
                fcntl.ioctl(open_socket.fileno(), termios.TIOCOUTQ, held)
        return self._transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    def make_room(self, since: float) -> None:
        """Close for another connection's sake; nothing was expected of the client, or nothing came, since then."""
        # An answer of a moment ago may still be on its way to the socket.
        if monotonic() - since < 1 and self.asked:
            self._transport.close()
            if self._transport.get_write_buffer_size():  # it closes when that is sent, which may be never
                self._all.wait(self, since)
        else:
            self._transport.abort()

    def shutdown(self) -> None:
        """End the connection, now or with the answer that is owed; called by uvicorn when it ends."""
        if self.state is State.ANSWERING:
            if self._cycle is not None:
                self._cycle.keep_alive = False
        elif self.state is State.BODY:
            self.refuse_body()
        elif self.state is not State.CLOSED:
            self._transport.close()
