"""Answers out, as HTTP/1.1, and how much of them the client has not taken."""

import asyncio
import fcntl
import sys
import termios
from contextlib import suppress
from http import HTTPStatus

from credit_risk_model.service.server import Answer, Request

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
# A copy of so little costs less than to give it to the system by itself.
_MAX_COPIED_BYTES = 16_384


class AnswerWriter:
    """Writes answers to the client of one connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Begin with nothing written."""
        self._transport = transport
        self._unsent = 0

    def write(self, request: Request, answer: Answer, date_line: bytes, *, closes: bool) -> None:
        """Write an answer, which is the connection's last where that closes."""
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

    def client_reads(self) -> bool:
        """Return whether the client has taken a part, since this was last asked, of what it has not taken whole."""
        before, self._unsent = self._unsent, self._count_unsent()
        return self._unsent not in (0, before)

    def _count_unsent(self) -> int:
        """Count the bytes that the client has not taken, those that the system holds for it, too.

        The system may hold megabytes, so that only its part tells whether a client reads slowly or not at all.
        """
        held = bytearray(4)
        open_socket = self._transport.get_extra_info("socket")
        if open_socket is not None:
            with suppress(OSError, ValueError):  # closed, and not yet told so; or a system that can't tell
                fcntl.ioctl(open_socket.fileno(), termios.TIOCOUTQ, held)
        return self._transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)
