"""Accepting connections as fast as they come.

libuv accepts one connection in each round of the event loop. Where requests on open connections make the rounds long,
new connections, among them the probes', wait the longer the more of them come. So with each one that libuv accepts, the
others that wait are accepted too.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_MOST_AT_ONCE = 32
_FILES = Path("/proc/self/fd")


class Backlog:
    """The connections that wait on the port that another one came by."""

    def __init__(self, loop: asyncio.AbstractEventLoop, port: int, tls: ssl.SSLContext | None) -> None:
        """Find the socket that listens on the port; where there is none to be found, the event loop accepts alone."""
        self._loop = loop
        self._tls = tls
        self._listening = _listening(port)
        # Held, since the event loop holds its tasks weakly only.
        self._tasks: set[asyncio.Task[object]] = set()

    def accept(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Accept those that wait, a bounded number of them at a time, each for a protocol of its own."""
        if self._tasks:
            return
        # The server's own file, looked at and not closed here: once the server has closed it, nothing is accepted.
        with suppress(OSError):
            listening = socket.socket(fileno=self._listening)
            try:
                for _ in range(_MOST_AT_ONCE):
                    accepted, _address = listening.accept()
                    accepted.setblocking(False)
                    task = self._loop.create_task(self._loop.connect_accepted_socket(protocol, accepted, ssl=self._tls))
                    self._tasks.add(task)
                    task.add_done_callback(self._done)
            finally:
                listening.detach()

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a client's that broke off its handshake: seen, and of no further interest


def _listening(port: int) -> int:
    """Give the number of the file that listens on a port; one that is none where there is none."""
    for number in (int(path.name) for path in _FILES.iterdir()) if _FILES.exists() else ():
        with suppress(OSError):
            found = socket.socket(fileno=number)
            try:
                listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and not os.get_blocking(number)
                if listens and found.family != socket.AF_UNIX and found.getsockname()[1] == port:
                    return number
            finally:
                found.detach()
    return -1
