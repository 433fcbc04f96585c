"""uvicorn's server on sockets of our own, with an end that loses no request.

uvicorn closes keep-alive connections the moment it begins to shut down, and a request that lies unread in such a
connection is reset; so are connections that the system has accepted and the server has not. So SIGTERM first starts a
drain: requests go on being answered, each answer asks its client to close the connection, and the shutdown begins when
no request has come for a moment. Then what waits is accepted, the listening sockets are closed, and what was accepted
is answered.
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

# libuv accepts one connection in each round of the event loop. Where requests make the rounds long, new connections,
# among them the probes', would wait the longer the more of them come.
_MAX_ACCEPTED_AT_ONCE = 32
_NO_FILE_SECONDS = 0.1
_QUIET_SECONDS = 0.25
GRACEFUL_SECONDS = 20
"""Time in which requests at work may be finished once the drain is over."""
_BACKLOG = 2048

# What is relied on beyond what uvicorn documents.
_NAMES: dict[Any, tuple[str, ...]] = {
    uvicorn.Server: ("def startup", "def shutdown", "def handle_exit", "self.server_state.default_headers ="),
    ServerState: ("connections", "tasks", "default_headers", "total_requests"),
}


class Server(uvicorn.Server):
    """Serves an application on sockets that are bound already."""

    def __init__(
        self, served: Served, lifespan: Any, settings: ServiceSettings, sockets: list[socket.socket], **options: Any
    ) -> None:
        """Prepare a server.

        Args:
            served: What answers.
            lifespan: An ASGI application that is told of the start and of the end, and nothing else.
            settings: The bounds.
            sockets: Listening sockets.
            options: More of uvicorn's options: those of TLS.

        Raises:
            ConfigurationError: The installed uvicorn is not the one that this was written for, or an option is wrong.
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
        """Start the application, and then to accept connections."""
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
        """Accept those that wait, a bounded number of them at a time."""
        loop = asyncio.get_running_loop()
        for _ in range(_MAX_ACCEPTED_AT_ONCE):
            try:
                accepted, _address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # no file is left for it: try again when others may have closed
                loop.remove_reader(listening)
                loop.call_later(_NO_FILE_SECONDS, self._listen, listening)
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
            task.exception()  # a client's that broke off its handshake: seen, and of no further interest

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first SIGTERM; at any further signal, or any other, end at once."""
        if sig != signal.SIGTERM or self._draining is not None or not self.started:
            super().handle_exit(sig, frame)
            return
        loop = self._connections.loop
        loop.call_soon_threadsafe(self._start_drain)

    def _start_drain(self) -> None:
        if self._draining is None:
            self._draining = self._connections.loop.create_task(self._drain())

    async def _drain(self) -> None:
        """Answer requests until none has come for a moment, or the time is over; then let uvicorn end."""
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
        """Accept what waits, close the sockets, answer what was accepted, and end."""
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
    """Name a socket's address, as host:port or as a path."""
    address = listening.getsockname()
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)


def check_uvicorn() -> None:
    """Compare what this package relies on with what is installed.

    Raises:
        ConfigurationError: They differ; says in what.
    """
    differing = [name for kind, names in _NAMES.items() for name in names if name not in inspect.getsource(kind)]
    if differing:
        raise ConfigurationError(
            f"uvicorn {uvicorn.__version__} with httptools {httptools.__version__} is not what this service was "
            f"written for (it differs in {', '.join(differing)}): install the packages of service_requirements.txt."
        )


def check_certificate(certificate: str, key: str | None) -> None:
    """Try a certificate with its key, which may stand in the same file.

    Raises:
        ConfigurationError: They can't be used; says why.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except OSError as error:  # ssl's errors are such, too
        reason = error.strerror
        raise ConfigurationError(
            f"--ssl-certfile {certificate}{f', --ssl-keyfile {key}' if key else ''}: can't be used ({reason})."
        ) from None


def bind(host: str, port: int, uds: str | None) -> socket.socket:
    """Bind a listening socket.

    Args:
        host: Name or address to listen at.
        port: Number; 0 for any that is free.
        uds: Path of a Unix domain socket to listen at instead.

    Raises:
        ConfigurationError: The address can't be bound; says why.
    """
    try:
        if uds is not None:
            return _bind_path(uds)
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        place = f"{host}:{port}" if uds is None else uds
        # An address in use comes with a longer text of Python's, an unknown name with a number of another kind.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise ConfigurationError(f"{place}: can't be listened at ({reason}).") from None


def _bind_path(path: str) -> socket.socket:
    """Bind a path, in place of a socket that is left of a process that has ended."""
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
    os.chmod(path, 0o666)  # noqa: S103  # whoever may enter its folder may connect, as with a port
    listening.listen(_BACKLOG)
    return listening
