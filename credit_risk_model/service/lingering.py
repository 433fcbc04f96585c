"""Closing a connection only when the client can have read its answer.

Closing a socket that holds unread data makes the system reset the connection, and the client's answer is lost with it.
So where more may come, only the sending side is closed, and what comes is dropped until the client closes too, or has
sent too much or waited too long.
"""

import asyncio
from collections.abc import Callable


class LingeringTransport(asyncio.Transport):
    """A transport that may linger before it closes.

    Attributes:
        lingering: Whether that goes on.
    """

    def __init__(
        self, transport: asyncio.Transport, expects_more: Callable[[], bool], on_linger: Callable[[], None]
    ) -> None:
        """Stand before a transport.

        Args:
            transport: What it does all with.
            expects_more: Says whether the client may still be sending what nobody will read.
            on_linger: Called when the sending side is closed; from then on its caller has to bound amount and time.
        """
        super().__init__()
        self.lingering = False
        self._transport = transport
        self._expects_more = expects_more
        self._on_linger = on_linger
        # Bound, not passed through: they are called for each answer.
        self.write = transport.write  # type: ignore[method-assign]
        self.abort = transport.abort  # type: ignore[method-assign]
        self.close_at_once = transport.close
        self.get_write_buffer_size = transport.get_write_buffer_size  # type: ignore[method-assign]
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]

    def is_closing(self) -> bool:
        """Say whether nothing more is to be written."""
        return self.lingering or self._transport.is_closing()

    def close(self) -> None:
        """Close, or linger; when called again while lingering, or when the connection is lost, close."""
        if self.lingering or self._transport.is_closing() or not self._expects_more():
            self._transport.close()
            return
        self.lingering = True
        self._on_linger()
        if self._transport.can_write_eof():
            self._transport.write_eof()
