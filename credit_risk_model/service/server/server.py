"""uvicorn's server on our own sockets, with a graceful shutdown that loses no request.

When uvicorn shuts down, it closes keep-alive connections at once. That resets unread requests in them, and connections
that the system has accepted but the server has not. Here SIGTERM first starts a drain: requests are still answered, and
each response asks the client to close the connection. The shutdown begins when no request has arrived for a moment. It
accepts the connections that wait in the backlog, closes the listening sockets, and answers what was accepted.
"""

import asyncio
import errno
import inspect
import logging
import os
import signal
import socket
import ssl
from types import FrameType
from typing import Any

import httptools
import uvicorn
from uvicorn.server import ServerState

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.service.server import Served
from credit_risk_model.service.server.connection import Connection
from credit_risk_model.service.server.connections import Connections
from credit_risk_model.service.settings import ServiceSettings

logger = logging.getLogger(__name__)

# libuv accepts one connection per round of the event loop. If requests make the rounds long, new connections, including
# those of probes, wait longer the more of them arrive.
_MAX_ACCEPTED_AT_ONCE = 32
_ACCEPT_RETRY_SECONDS = 0.1
_QUIET_SECONDS = 0.25
GRACEFUL_SECONDS = 20
"""Grace period for requests in progress after the drain, in seconds."""
_BACKLOG = 2048

# Names that this module uses beyond uvicorn's documentation.
_REQUIRED_NAMES: dict[Any, tuple[str, ...]] = {
    uvicorn.Server: ("def startup", "def shutdown", "def handle_exit", "self.server_state.default_headers ="),
    ServerState: ("connections", "tasks", "default_headers", "total_requests"),
}


class Server(uvicorn.Server):
    """Server on sockets that are already bound."""

    def __init__(
        self, served: Served, lifespan: Any, settings: ServiceSettings, sockets: list[socket.socket], **options: Any
    ) -> None:
        """Create the server.

        Args:
            served: The application.
            lifespan: ASGI application for the lifespan events alone.
            settings: The bounds.
            sockets: Listening sockets.
            options: More options of uvicorn: those for TLS.

        Raises:
            ConfigurationError: The installed uvicorn is not supported, or an option is invalid.
        """
        check_uvicorn()
        super().__init__(
            uvicorn.Config(
                lifespan,
                interface="asgi3",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACEFUL_SECONDS,
                **options,
            )
        )
        self._served = served
        self._settings = settings
        self._sockets = sockets
        self._accepting: set[asyncio.Task[Any]] = set()
        self._last_request = 0
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        await super().startup(sockets=[])
        self._connections = Connections(self.config, self.server_state, self._served, self._settings)
        for listening in self._sockets:
            listening.setblocking(False)
            self._listen(listening)
            logger.info("listening", extra={"fields": {"address": describe(listening)}})

    def _listen(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Accept waiting connections, up to a maximum per call."""
        loop = asyncio.get_running_loop()
        for _ in range(_MAX_ACCEPTED_AT_ONCE):
            try:
                accepted, _address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # out of file descriptors: retry when connections may have been closed
                loop.remove_reader(listening)
                loop.call_later(_ACCEPT_RETRY_SECONDS, self._listen, listening)
                return
            accepted.setblocking(False)
            connected = loop.connect_accepted_socket(
                lambda: Connection(self._connections), accepted, ssl=self.config.ssl
            )
            task = loop.create_task(connected)
            self._accepting.add(task)
            task.add_done_callback(self._note_accepted)

    def _note_accepted(self, task: asyncio.Task[Any]) -> None:
        self._accepting.discard(task)
        if not task.cancelled():
            task.exception()  # mark as retrieved: a client broke off its TLS handshake

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start a drain at the first SIGTERM; exit at once at any other or further signal."""
        if sig != signal.SIGTERM or self._draining is not None or not self.started:
            super().handle_exit(sig, frame)
            return
        loop = self._connections.loop
        loop.call_soon_threadsafe(self._start_drain)

    def _start_drain(self) -> None:
        if self._draining is None:
            self._draining = self._connections.loop.create_task(self._drain())

    async def _drain(self) -> None:
        """Answer requests until none has arrived for a moment or the timeout is over; then let uvicorn exit."""
        self._connections.draining = True
        self._served.drain()
        loop = self._connections.loop
        began = quiet_since = loop.time()
        answered = self.server_state.total_requests
        while (
            now := loop.time()
        ) < began + self._settings.drain_timeout_seconds and now < quiet_since + _QUIET_SECONDS:
            await asyncio.sleep(0.05)
            if self.server_state.total_requests != answered:
                answered, quiet_since = self.server_state.total_requests, loop.time()
        super().handle_exit(signal.SIGTERM, None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections from the backlog, close the sockets, answer what was accepted, and exit."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            loop.remove_reader(listening)
            self._accept(listening)
            listening.close()
        deadline = loop.time() + max(self._settings.drain_timeout_seconds, _QUIET_SECONDS)
        while (self._accepting or not self._connections.silent(_QUIET_SECONDS)) and loop.time() < deadline:
            await asyncio.sleep(0.02)
        self._connections.ending = True
        await super().shutdown(sockets=[])


def describe(listening: socket.socket) -> str:
    """Format a socket's address as host:port or as a path."""
    address = listening.getsockname()
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)


def check_uvicorn() -> None:
    """Check that the installed uvicorn has the names that this module uses.

    Raises:
        ConfigurationError: It lacks some; the message names them.
    """
    differing = [
        name for kind, names in _REQUIRED_NAMES.items() for name in names if name not in inspect.getsource(kind)
    ]
    if differing:
        raise ConfigurationError(
            f"uvicorn {uvicorn.__version__} with httptools {httptools.__version__} is not supported "
            f"(it lacks {', '.join(differing)}): install the packages of service_requirements.txt."
        )


def check_certificate(certificate: str, key: str | None) -> None:
    """Check that a certificate and its key can be loaded; the key may be in the same file.

    Raises:
        ConfigurationError: They can't be loaded; the message says why.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:  # includes ssl's errors
        reason = error.strerror
        raise ConfigurationError(
            f"--ssl-certfile {certificate}{f', --ssl-keyfile {key}' if key else ''}: can't be loaded ({reason})."
        ) from None


def bind(host: str, port: int, uds: str | None) -> socket.socket:
    """Bind a listening socket.

    Args:
        host: Host name or address to listen on.
        port: Port number; 0 for any free one.
        uds: Path of a Unix domain socket to listen on instead.

    Raises:
        ConfigurationError: The address can't be bound; the message says why.
    """
    try:
        if uds is not None:
            return _bind_path(uds)
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        place = f"{host}:{port}" if uds is None else uds
        # For an address in use Python has a longer text; for an unknown name the number is not an errno.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise ConfigurationError(f"{place}: can't listen on this address ({reason}).") from None


def _bind_path(path: str) -> socket.socket:
    """Bind a path; replace a stale socket of a process that has ended."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except FileNotFoundError:
        pass
    else:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    listening.close()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    os.chmod(path, 0o666)  # noqa: S103  # access is controlled by the folder, as it is by the network for a port
    listening.listen(_BACKLOG)
    return listening
