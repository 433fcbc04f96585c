"""A client connection: HTTP/1.1 with bounds, one request in progress at a time.

uvicorn's own protocol bounds neither the time nor the size of headers and bodies. It starts a request before the body
has arrived, and answers several before the client has read the first. It closes connections while the client still
sends, so that the client gets a reset instead of the response. Its own errors are plain text. Here a request starts
when it has arrived completely, and the next one starts when the previous response was sent. Most responses take
microseconds; these are written directly, without an event loop task.
"""

import asyncio
from collections.abc import Awaitable
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from credit_risk_model.service.errors import RequestRefused
from credit_risk_model.service.server import Answer, Request
from credit_risk_model.service.server.answer_writer import AnswerWriter
from credit_risk_model.service.server.receive_buffer import ReceiveBuffer
from credit_risk_model.service.server.request_reader import RequestReader

if TYPE_CHECKING:
    from credit_risk_model.service.server.connections import Connections

# Bytes parsed at a time: fifty small requests of a client that pipelines. Headers that arrive in one piece are within
# their bound, which is larger.
_CHUNK_BYTES = 2048

AGAIN = [(b"retry-after", b"1")]
_NO_BODY = bytearray()
FULL = RequestRefused(503, "busy", "ServiceBusy", ["Too many connections."], AGAIN)


class State(Enum):
    """What a connection waits for."""

    IDLE = "the next request"
    HEADERS = "the rest of a request's line and headers"
    BODY = "the rest of a request's body"
    ANSWERING = "a request in progress, or a client that does not read its response"
    LINGERING = "the client to close after the last response; further data is dropped"
    CLOSED = "nothing"


TOO_SLOW = {
    State.HEADERS: RequestRefused(408, "slow", "RequestTimeout", ["The headers did not arrive in time."]),
    State.BODY: RequestRefused(408, "slow", "RequestTimeout", ["The body did not arrive in time."]),
}
"""Refusals of requests that do not arrive in time."""


class Connection(asyncio.Protocol):
    """A connection.

    Attributes:
        state: What it waits for.
        asked: Whether it has had a complete request.
        waiting: The group of waiting connections it belongs to; None if it does not wait.
        reader: Parser of its requests.
    """

    def __init__(self, connections: "Connections") -> None:
        """Create a connection of a server."""
        self.state = State.IDLE
        self.asked = False
        self.waiting: dict[Connection, float] | None = None
        self._connections = connections
        self.reader = RequestReader(connections.served, connections.max_header_bytes)
        self._in_progress: Request | None = None
        self._answer: Answer | None = None  # response to that request, until the client has taken it
        self._write_paused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it always is one
        """Register the connection, or refuse it."""
        self._transport = transport
        self._received = ReceiveBuffer(transport)
        self._writer = AnswerWriter(transport)
        self._expires = self._connections.make_expiry()
        self._connections.open(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Unregister the connection."""
        self.state = State.CLOSED
        self._connections.forget(self)
        self.reader.complete.clear()
        if self._in_progress is not None and (self._answer is None or self._write_paused):
            self._connections.served.note(self._in_progress, None)
        else:
            self._finish()
        self._in_progress = None

    def data_received(self, data: bytes) -> None:
        """Parse received data; while a request is in progress, hold it."""
        if self.state is State.ANSWERING:
            self._received.hold(data)
        elif self.state is State.LINGERING:
            self._received.discard(data)
        else:
            self._read(data)

    def eof_received(self) -> bool:
        """Keep the connection open for responses if the client has closed its side; otherwise let it close."""
        self._received.ended = True
        return self.state is State.ANSWERING

    def _read(self, data: bytes) -> None:
        """Parse data in pieces until a request is in progress."""
        for start in range(0, len(data), _CHUNK_BYTES):
            if self.state is State.ANSWERING:
                self._received.hold(data[start:])
                return
            if self.state in (State.LINGERING, State.CLOSED):
                return
            self.reader.read(data[start : start + _CHUNK_BYTES])
            self._continue()

    def _continue(self) -> None:
        """Start the next request, or wait for more data."""
        request = self.reader.take()
        if request is not None:
            self._start(request)
        elif (arriving := self.reader.arriving) is not None:
            if arriving.expects_continue:
                self._writer.write_continue(arriving)
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
        self._in_progress = request
        answer = self._connections.served.answer(request)
        if isinstance(answer, Answer):
            self._write(request, answer)
        else:
            self._connections.run(self._answer_later(request, answer))

    async def _answer_later(self, request: Request, coming: Awaitable[Answer]) -> None:
        try:
            answer = await coming
        except asyncio.CancelledError:  # the grace period of the shutdown is over
            self._transport.abort()
            raise
        self._write(request, answer)

    def _write(self, request: Request, answer: Answer) -> None:
        """Write a response. The next request starts in a later round of the event loop, after other connections."""
        if self.state is not State.ANSWERING:  # the client has disconnected
            return
        request.body = _NO_BODY  # free up to a megabyte
        closes = not request.keep_alive or self._connections.draining or request.began > self._expires
        self._writer.write(request, answer, self._connections.date_line(), closes=closes)
        self._answer = answer
        if closes:
            self._close()
            self._finish()
        elif not self._write_paused:
            self._connections.loop.call_soon(self._finish)

    def _finish(self) -> None:
        """Record a response that was sent, and continue."""
        request, answer = self._in_progress, self._answer
        if request is None or answer is None:
            return
        self._in_progress = self._answer = None
        self._connections.state.total_requests += 1
        self._connections.served.note(request, answer)
        if self.state is State.ANSWERING:
            self._start_next()

    def _start_next(self) -> None:
        """Start the next pipelined request, or receive more."""
        if self.reader.complete:
            self._start(self.reader.complete.popleft())
            return
        self.state = State.IDLE
        self._connections.wait(self)
        held = self._received.release()
        if held and self.reader.refusal is None:
            self._read(held)
        elif self._received.ended and self.reader.refusal is None:
            self._transport.close()
        else:
            self._continue()

    def _close(self) -> None:
        """Close after the last response, or once the client closes too if more of its data may arrive."""
        reader, received = self.reader, self._received
        more = reader.refusal is not None or reader.complete or reader.arriving is not None or received.held != b""
        lingers = more and not (received.ended or self._connections.ending or self._transport.is_closing())
        self.state = State.LINGERING if lingers else State.CLOSED
        self._connections.wait(self)  # also while data is still being sent
        self._writer.close(lingers=lingers)
        if lingers:
            received.release()

    def pause_writing(self) -> None:
        """Handle a client that does not read."""
        self._write_paused = True
        self._connections.wait(self)

    def resume_writing(self) -> None:
        """Handle a client that reads again."""
        self._write_paused = False
        if self.state is State.ANSWERING:
            self._connections.stop_waiting(self)
            self._finish()

    def time_out(self) -> None:
        """Refuse the request or close the connection after a timeout."""
        if self._writer.client_reads():  # slowly
            self._connections.wait(self)
        elif (refusal := TOO_SLOW.get(self.state)) is not None:
            self.refuse(refusal)
        else:
            self._transport.abort()

    def refuse(self, refusal: RequestRefused) -> None:
        """Refuse the arriving request, or the connection if there is none, and close it."""
        self.reader.break_off(refusal)
        self._continue()

    def evict(self, since: float) -> None:
        """Close to make room for another connection; this one has been idle since then."""
        # A response from a moment ago may still be on its way to the socket.
        if monotonic() - since < 1 and self.asked:
            self._transport.close()
            if self._transport.get_write_buffer_size():  # it closes after sending that, which may never happen
                self._connections.wait(self, since)
        else:
            self._transport.abort()

    def shutdown(self) -> None:
        """Close now, or after the response in progress; called by uvicorn's shutdown."""
        if self.state is State.ANSWERING:
            if self._answer is not None:
                self._close()
            elif self._in_progress is not None:
                self._in_progress.keep_alive = False
        elif self.state is State.BODY:
            self.refuse(TOO_SLOW[State.BODY])
        elif self.state is not State.CLOSED:
            self._transport.close()
