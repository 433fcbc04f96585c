"""One client's connection: HTTP/1.1 within bounds, one request at work at a time.

uvicorn's own protocol bounds neither the time in which a request's headers and body arrive, nor their size; it starts
a request before its body is there, and answers to several before the first is read; it closes on clients that still
send, who then see a reset in place of the answer; and its own errors are plain text. Here a request is started when all
of it has arrived, and the next one when the answer before it has left. Most answers take microseconds: those are given
at once, without a task for the event loop.
"""

import asyncio
from collections.abc import Awaitable
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from credit_risk_model.service.errors import RequestRefused
from credit_risk_model.service.server import Answer, Request
from credit_risk_model.service.server.answer_writer import AnswerWriter
from credit_risk_model.service.server.request_reader import RequestReader

if TYPE_CHECKING:
    from credit_risk_model.service.server.connections import Connections

# Of what is parsed in one go: fifty small requests of a client that pipelines. Headers that come in one piece are
# within their bound, which is larger.
_PIECE_BYTES = 2048
# Of what a refused client still sends. It is dropped unread, but read it must be.
_MAX_DISCARDED_BYTES = 64 * 2**20

AGAIN = [(b"retry-after", b"1")]
_NO_BODY = bytearray()
_SLOW_HEADERS = RequestRefused(408, "slow", "RequestTimeout", ["The headers did not arrive in time."])
_SLOW_BODY = RequestRefused(408, "slow", "RequestTimeout", ["The body did not arrive in time."])
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
        reader: What reads its requests.
    """

    def __init__(self, connections: "Connections") -> None:
        """Make a connection of a server."""
        self.state = State.IDLE
        self.asked = False
        self.waiting: dict[Connection, float] | None = None
        self._connections = connections
        self.reader = RequestReader(connections.served, connections.max_header_bytes)
        self._at_work: Request | None = None
        self._answer: Answer | None = None  # to the one at work, where the client has not taken it yet
        self._held = b""  # received while a request was at work, and not parsed yet
        self._ended = False  # whether the client has closed its side
        self._reads = True  # whether the transport is to read on
        self._write_paused = False
        self._discarded = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it always is one
        """Take the connection up, or refuse it."""
        self._transport = transport
        self._writer = AnswerWriter(transport)
        self._expires = self._connections.make_expiry()
        self._connections.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.state = State.CLOSED
        self._connections.forget(self)
        self.reader.complete.clear()
        if self._at_work is not None and (self._answer is None or self._write_paused):
            self._connections.served.note(self._at_work, None)
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
            self.reader.read(data[start : start + _PIECE_BYTES])
            self._continue()

    def _continue(self) -> None:
        """Do what is next, while no request is at work."""
        request = self.reader.take()
        if request is not None:
            self._start(request)
        elif (arriving := self.reader.arriving) is not None:
            if arriving.expects_continue and not arriving.body:
                arriving.expects_continue = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._wait(State.BODY)
        else:
            self._wait(State.HEADERS if self.reader.has_begun else State.IDLE)

    def _wait(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._connections.wait(self)

    def _start(self, request: Request) -> None:
        """Pass a request to the application."""
        self.state = State.ANSWERING
        self.asked = True
        self._connections.stop_waiting(self)
        self._at_work = request
        answer = self._connections.served.answer(request)
        if isinstance(answer, Answer):
            self._write(request, answer)
        else:
            self._connections.run(self._answer_later(request, answer))

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
        closes = not request.keep_alive or self._connections.draining or request.began > self._expires
        self._writer.write(request, answer, self._connections.date_line(), closes=closes)
        self._answer = answer
        if closes:
            self._close()
            self._finish()
        elif not self._write_paused:
            self._connections.loop.call_soon(self._finish)

    def _finish(self) -> None:
        """Note an answer that has left, and go on."""
        request, answer = self._at_work, self._answer
        if request is None or answer is None:
            return
        self._at_work = self._answer = None
        self._connections.state.total_requests += 1
        self._connections.served.note(request, answer)
        if self.state is State.ANSWERING:
            self._go_on()

    def _go_on(self) -> None:
        """Start the next request that waits, or read on."""
        if self.reader.complete:
            self._start(self.reader.complete.popleft())
            return
        self.state = State.IDLE
        self._connections.wait(self)
        self._resume_reading()
        held, self._held = self._held, b""
        if held and self.reader.refusal is None:
            self._read(held)
        elif self._ended and self.reader.refusal is None:
            self._transport.close()
        else:
            self._continue()

    def _close(self) -> None:
        """Close, once the client can have read its answer.

        Closing a socket that holds unread data makes the system reset the connection, and the answer is lost with it.
        So where more may come, only the sending side is closed, and what comes is dropped until the client closes too,
        or has sent too much or waited too long.
        """
        reader = self.reader
        more = reader.refusal is not None or reader.complete or reader.arriving is not None or self._held
        lingers = more and not (self._ended or self._connections.ending or self._transport.is_closing())
        self.state = State.LINGERING if lingers else State.CLOSED
        self._connections.wait(self)  # also for what is still to be sent
        if not lingers:
            self._transport.close()
            return
        self._resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def pause_writing(self) -> None:
        """Note a client that does not read."""
        self._write_paused = True
        self._connections.wait(self)

    def resume_writing(self) -> None:
        """Note that it reads again."""
        self._write_paused = False
        if self.state is State.ANSWERING:
            self._connections.stop_waiting(self)
            self._finish()

    def _pause_reading(self) -> None:
        if self._reads:
            self._reads = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reads:
            self._reads = True
            self._transport.resume_reading()

    def time_out(self) -> None:
        """Refuse or close, since the client did not do in time what it was expected to do."""
        if self._writer.client_reads():  # if slowly
            self._connections.wait(self)
        elif self.state is State.HEADERS:
            self.refuse(_SLOW_HEADERS)
        elif self.state is State.BODY:
            self.refuse_body()
        else:
            self._transport.abort()

    def refuse_body(self) -> None:
        """Refuse the request whose body is arriving."""
        self.refuse(_SLOW_BODY)

    def refuse(self, refusal: RequestRefused) -> None:
        """Refuse what is arriving, or the connection where nothing is, and close it."""
        self.reader.break_off(refusal)
        self._continue()

    def make_room(self, since: float) -> None:
        """Close for another connection's sake; nothing was expected of the client, or nothing came, since then."""
        # An answer of a moment ago may still be on its way to the socket.
        if monotonic() - since < 1 and self.asked:
            self._transport.close()
            if self._transport.get_write_buffer_size():  # it closes when that is sent, which may be never
                self._connections.wait(self, since)
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
