"""Writes HTTP/1.1 responses, and measures how much of them the client has not read."""

import asyncio
import fcntl
import sys
import termios
from contextlib import suppress
from http import HTTPStatus

from credit_risk_model.service.server import Answer, Request

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
# Copying this much costs less than a separate write.
_MAX_COPIED_BYTES = 16_384


class AnswerWriter:
    """Writes responses to one connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Create a writer for a transport."""
        self._transport = transport
        self._unsent = 0

    def write(self, request: Request, answer: Answer, date_line: bytes, *, closes: bool) -> None:
        """Write a response; if `closes`, it is the connection's last."""
        content = answer.content
        head = [
            _STATUS_LINES[answer.status],
            date_line,
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
        self._unsent = 0

    def write_continue(self, request: Request) -> None:
        """Ask once for a request's body, unless it is arriving already."""
        request.expects_continue = False
        if not request.body:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def close(self, *, lingers: bool) -> None:
        """Close the connection, or only the sending side if more data of the client may arrive.

        Closing a socket with unread data makes the system reset the connection, and the client loses the response. So
        that data must be received and dropped until the client closes too, sends too much or takes too long.
        """
        if not lingers:
            self._transport.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()

    def client_reads(self) -> bool:
        """Return whether the client has read a part, but not all, of the unsent data since the last call."""
        before, self._unsent = self._unsent, self._count_unsent()
        return self._unsent not in (0, before)

    def _count_unsent(self) -> int:
        """Count the bytes that the client has not read, including those in the system's send buffer.

        That buffer may hold megabytes, so it alone shows whether a client reads slowly or not at all.
        """
        held = bytearray(4)
        open_socket = self._transport.get_extra_info("socket")
        if open_socket is not None:
            with suppress(OSError, ValueError):  # the socket is closed, or the system has no such call
                fcntl.ioctl(open_socket.fileno(), termios.TIOCOUTQ, held)
        return self._transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)
