"""One client's connection: HTTP/1.1 within bounds, one request at work at a time.

uvicorn's own protocol bounds neither the time in which a request's headers and body arrive, nor their size; it starts
a request before its body is there, and answers to several before the first is read; it closes on clients that still
send, who then see a reset in place of the answer; and its own errors are plain text. Here a request is started when all
of it has arrived, and the next one when the answer before it has left. Most answers take microseconds: those are given
at once, without a task for the event loop.
"""

import asyncio
import fcntl
import sys
import termios
import urllib.parse
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from enum import Enum
from http import HTTPStatus
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

import httptools

from credit_risk_model.service.errors import Headers, RequestRefused
from credit_risk_model.service.headers import too_large
from credit_risk_model.service.server import Answer, Request

if TYPE_CHECKING:
    from credit_risk_model.service.server.connections import Connections

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
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_NO_BODY = bytearray()
# A copy of so little costs less than to give it to the system by itself.
_MAX_COPIED_BYTES = 16_384
_MALFORMED = RequestRefused(400, "malformed", "MalformedRequest", ["The request is not valid HTTP."])
_HOST = RequestRefused(400, "malformed", "MalformedRequest", ["A request has one Host header, with a host and a port."])
_VERSION = RequestRefused(400, "malformed", "MalformedRequest", ["The request is not in HTTP/1.1 or HTTP/1.0."])
_CODING = RequestRefused(501, "coding", "NotImplemented", ["Of all transfer codings only chunked is understood."])
_SLOW_HEADERS = RequestRefused(408, "slow", "RequestTimeout", ["The headers did not arrive in time."])
_SLOW_BODY = RequestRefused(408, "slow", "RequestTimeout", ["The body did not arrive in time."])
_LONG_URL = RequestRefused(414, "long_url", "URITooLong", [f"The URL is longer than {_MAX_URL_BYTES} bytes."])
_LARGE_HEADERS = RequestRefused(431, "large_headers", "HeadersTooLarge", ["The headers are too many or too large."])
FULL = RequestRefused(503, "busy", "ServiceBusy", ["Too many connections."], AGAIN)


class State(Enum):
    """What a connection waits for."""

    IDLE = "the next request"
    HEADERS = "the rest of a request's line and headers"
    BODY = "the rest of a request's body"
    ANSWERING = "a request at work, or a client that does not read its answer"
    LINGERING = "the client to close, after the last answer; what it still sends is dropped"
    CLOSED = "nothing"


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
        self._queue: deque[Request] = deque()  # whole requests that wait for the one at work
        self._at_work: Request | None = None
        self._answer: Answer | None = None  # to the one at work, where the client has not taken it yet
        self._arriving: Request | None = None  # the one whose headers are complete and whose body is not
        self._begun = False  # whether one has begun whose headers are not complete
        self._began = 0.0
        self._url = b""
        self._headers: Headers = []
        # Bytes received while headers, or what of a body is none (extensions of chunks, trailers), are not complete.
        self._unfinished = 0
        self._held = b""  # received while a request was at work, and not parsed yet
        self._broken: RequestRefused | None = None  # what ends the connection once all answers are given
        self._breach = _MALFORMED  # what is wrong where the parser stops
        self._expects_continue = False
        self._resumed = False  # a parser that reads on after a request to change protocols
        self._ended = False  # whether the client has closed its side
        self._reads = True  # whether the transport is to read on
        self._write_paused = False
        self._discarded = 0
        self._unsent = 0

    @property
    def received(self) -> int:
        """Bytes of the body that is arriving."""
        return len(self._arriving.body) if self._arriving is not None else 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it always is one
        """Take the connection up, or refuse it."""
        self._transport = transport
        self._expires = self._all.make_expiry()
        self._all.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.state = State.CLOSED
        self._all.forget(self)
        self._queue.clear()
        if self._at_work is not None and (self._answer is None or self._write_paused):
            self._all.served.note(self._at_work, None)
        else:
            self._finish()
        self._at_work = None

    def data_received(self, data: bytes) -> None:
        """Parse what came; what comes while a request is at work waits, and so does the client."""
        if self.state is State.ANSWERING:
            self._held += data
            self._pause_reading()
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
                self._pause_reading()
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
            self._began = perf_counter()
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
        path = httptools.parse_url(self._url).path.decode("ascii")
        request = Request(
            self._parser.get_method().decode(),
            urllib.parse.unquote(path) if "%" in path else path,
            self._headers,
            self._began,
        )
        request.keep_alive = version != "1.0" and self._parser.should_keep_alive()
        request.expects_continue = self._expects_continue
        self._all.served.admit(request)
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
        if self._parser.should_upgrade() and request.method != "CONNECT":
            return
        self._arriving = None
        self._unfinished = 0
        self._queue.append(request)

    def _break_off(self, refusal: RequestRefused) -> None:
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
        elif self._broken is not None:  # an error that became no request
            request = Request("", "", [], self._began or perf_counter())
            request.refusal = self._broken
            self._start(request)
        elif self._arriving is not None:
            if self._arriving.expects_continue and not self._arriving.body:
                self._arriving.expects_continue = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._wait(State.BODY)
        else:
            self._wait(State.HEADERS if self._begun else State.IDLE)

    def _wait(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._all.wait(self)

    def _start(self, request: Request) -> None:
        """Pass a request to the application."""
        self.state = State.ANSWERING
        self.asked = True
        self._all.go_on(self)
        self._at_work = request
        answer = self._all.served.answer(request)
        if isinstance(answer, Answer):
            self._write(request, answer)
        else:
            self._all.run(self._answer_later(request, answer))

    async def _answer_later(self, request: Request, coming: Awaitable[Answer]) -> None:
        try:
            answer = await coming
        except asyncio.CancelledError:  # the server ends, and has waited long enough
            self._transport.abort()
            raise
        self._write(request, answer)

    def _write(self, request: Request, answer: Answer) -> None:
        """Write an answer, and go on when it has left: not before the event loop has looked after the others."""
        if self.state is not State.ANSWERING:  # the client has gone
            return
        request.body = _NO_BODY  # of no use any more, and perhaps a megabyte
        closes = not request.keep_alive or self._all.draining or request.began > self._expires
        content = answer.content
        head = [
            _STATUS_LINES[answer.status],
            self._all.date_line(),
            b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
            % (answer.content_type, len(content), request.identity.encode()),
            *(b"%b: %b\r\n" % header for header in answer.headers),
            b"connection: close\r\n\r\n" if closes else b"\r\n",
        ]
        if request.method == "HEAD":
            content = b""
        if len(content) <= _MAX_COPIED_BYTES:
            self._transport.write(b"".join([*head, content]))
        else:
            self._transport.write(b"".join(head))
            self._transport.write(content)
        self._answer = answer
        if closes:
            self._close()
            self._finish()
        elif not self._write_paused:
            self._all.loop.call_soon(self._finish)

    def _finish(self) -> None:
        """Note an answer that has left, and go on."""
        request, answer = self._at_work, self._answer
        if request is None or answer is None:
            return
        self._at_work = self._answer = None
        self._all.state.total_requests += 1
        self._all.served.note(request, answer)
        if self.state is State.ANSWERING:
            self._go_on()

    def _go_on(self) -> None:
        """Start the next request that waits, or read on."""
        self._unsent = 0
        if self._queue:
            self._start(self._queue.popleft())
            return
        self.state = State.IDLE
        self._all.wait(self)
        self._resume_reading()
        held, self._held = self._held, b""
        if held and self._broken is None:
            self._read(held)
        elif self._ended and self._broken is None:
            self._transport.close()
        else:
            self._continue()

    def _close(self) -> None:
        """Close, once the client can have read its answer.

        Closing a socket that holds unread data makes the system reset the connection, and the answer is lost with it.
        So where more may come, only the sending side is closed, and what comes is dropped until the client closes too,
        or has sent too much or waited too long.
        """
        more = self._broken is not None or self._queue or self._held or self._arriving is not None
        lingers = more and not (self._ended or self._all.ending or self._transport.is_closing())
        self.state = State.LINGERING if lingers else State.CLOSED
        self._all.wait(self)  # also for what is still to be sent
        if not lingers:
            self._transport.close()
            return
        self._resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def pause_writing(self) -> None:
        """Note a client that does not read."""
        self._write_paused = True
        self._all.wait(self)

    def resume_writing(self) -> None:
        """Note that it reads again."""
        self._write_paused = False
        self._unsent = 0
        if self.state is State.ANSWERING:
            self._all.go_on(self)
            self._finish()

    def _pause_reading(self) -> None:
        if self._reads:
            self._reads = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reads:
            self._reads = True
            self._transport.resume_reading()

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

    def refuse(self, refusal: RequestRefused) -> None:
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
            if self._answer is not None:
                self._close()
            elif self._at_work is not None:
                self._at_work.keep_alive = False
        elif self.state is State.BODY:
            self.refuse_body()
        elif self.state is not State.CLOSED:
            self._transport.close()
