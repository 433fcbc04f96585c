"""Stops receiving while a request is in progress, and holds what has arrived by then."""

import asyncio

# Maximum number of bytes that are received and dropped after a refusal.
_MAX_DISCARDED_BYTES = 64 * 2**20


class ReceiveBuffer:
    """Received data of one connection that is not parsed yet.

    Attributes:
        held: The data.
        ended: Whether the client has closed its side.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Create an empty buffer for a transport."""
        self.held = b""
        self.ended = False
        self._transport = transport
        self._is_receiving = True
        self._discarded = 0

    def hold(self, data: bytes) -> None:
        """Keep data for later, and stop receiving."""
        self.held += data
        if self._is_receiving:
            self._is_receiving = False
            self._transport.pause_reading()

    def release(self) -> bytes:
        """Receive again, and return the data that was held."""
        if not self._is_receiving:
            self._is_receiving = True
            self._transport.resume_reading()
        held, self.held = self.held, b""
        return held

    def discard(self, data: bytes) -> None:
        """Drop data that came after the last response; abort the connection if there is too much of it."""
        self._discarded += len(data)
        if self._discarded > _MAX_DISCARDED_BYTES:
            self._transport.abort()
