"""All connections of a server: their maximum number, their timeouts, and which one is closed to make room."""

import asyncio
import ctypes
import logging
import resource
from collections.abc import Coroutine
from random import uniform
from time import monotonic, perf_counter
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from credit_risk_model.service import metrics
from credit_risk_model.service.server import Served
from credit_risk_model.service.server.connection import FULL, TOO_SLOW, Connection, State
from credit_risk_model.service.settings import ServiceSettings

logger = logging.getLogger(__name__)

_WATCH_SECONDS = 0.5
# Open files of a process besides its connections.
_OTHER_FILES = 64
_M_MMAP_THRESHOLD = -3  # from glibc's malloc.h
_LARGE_BYTES = 262_144
# Added to the received bytes of a body when rates are compared, so that a body that has only just begun is not the
# slowest.
_HEAD_START_BYTES = 1024


class Connections:
    """The connections of one server.

    Attributes:
        max_header_bytes: Limit for the size of a request line and its headers.
        draining: Whether connections are closed after the current response.
        ending: Whether connections are closed at once, without waiting for what the client still sends.
    """

    def __init__(self, config: Config, state: ServerState, served: Served, settings: ServiceSettings) -> None:
        """Prepare for the number of connections in the settings."""
        self.state, self.served = state, served
        # The server's own set; uvicorn only calls shutdown() of its members.
        self._open: set[Connection] = state.connections  # type: ignore[assignment]
        self._keep_alive_seconds = config.timeout_keep_alive
        self.loop = asyncio.get_running_loop()
        self.max_header_bytes = settings.max_header_bytes
        self._max_age_seconds = settings.max_connection_age_seconds
        self.draining = self.ending = False
        self._settings = settings
        # Waiting connections with the time since when, the longest first: those without a request so far, those that
        # wait for another request or for the client to read, and those that wait for a body.
        self._fresh: dict[Connection, float] = {}
        self._kept: dict[Connection, float] = {}
        self._bodies: dict[Connection, float] = {}
        self._watching = False
        self._date: tuple[Any, bytes] = (None, b"")
        metrics.open_connections.set_function(lambda: len(self._open))
        metrics.in_flight.set_function(self._count_in_progress)
        _raise_open_file_limit(settings.max_connections + _OTHER_FILES)
        _return_freed_memory()

    def open(self, connection: Connection) -> None:
        """Register a new connection. If there are too many, close one.

        That is the longest idle of those without a request so far, else of those that wait for their next request.
        """
        self._open.add(connection)
        if len(self._open) > self._settings.max_connections:
            evicted = next(iter(self._fresh or self._kept), None)
            if evicted is None:
                connection.refuse(FULL)
                return
            since = (self._fresh or self._kept)[evicted]
            metrics.evicted.labels("first_request" if self._fresh else "next_request").inc()
            self.stop_waiting(evicted)
            evicted.evict(since)
        self.wait(connection)
        if not self._watching:
            self._watching = True
            self._watch_later()

    def wait(self, connection: Connection, since: float | None = None) -> None:
        """Register a connection as waiting, from now on or since a time."""
        self.stop_waiting(connection)
        if connection.state is State.BODY:
            waiting = self._bodies
            if len(waiting) >= self._settings.max_concurrent_bodies:
                self._refuse_slowest_body()
        else:
            waiting = self._kept if connection.asked else self._fresh
        waiting[connection] = monotonic() if since is None else since
        connection.waiting = waiting

    def stop_waiting(self, connection: Connection) -> None:
        """Unregister a connection as waiting."""
        if connection.waiting is not None:
            del connection.waiting[connection]
            connection.waiting = None

    def forget(self, connection: Connection) -> None:
        """Unregister a closed connection."""
        self.stop_waiting(connection)
        self._open.discard(connection)

    def make_expiry(self) -> float:
        """Return when a new connection expires, in seconds of `time.perf_counter`, with jitter."""
        return perf_counter() + self._max_age_seconds * uniform(0.8, 1.2)  # noqa: S311  # no secret

    def run(self, answering: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that sends a response; the shutdown waits for it."""
        task = self.loop.create_task(answering)
        self.state.tasks.add(task)
        task.add_done_callback(self.state.tasks.discard)

    def date_line(self) -> bytes:
        """Return the Date header, which uvicorn updates every second."""
        headers, line = self._date
        if headers is not self.state.default_headers:
            headers = self.state.default_headers
            line = b"".join(b"%b: %b\r\n" % header for header in headers)
            self._date = headers, line
        return line

    def silent(self, seconds: float) -> bool:
        """Return whether all connections without a request so far are older than this."""
        return not self._fresh or next(reversed(self._fresh.values())) < monotonic() - seconds

    def _count_in_progress(self) -> int:
        return sum(each.state is State.ANSWERING for each in self._open)

    def _refuse_slowest_body(self) -> None:
        now = monotonic()

        def rate(waiting: tuple[Connection, float]) -> float:
            connection, since = waiting
            return (connection.reader.received + _HEAD_START_BYTES) / max(now - since, 1e-6)

        metrics.evicted.labels("body").inc()
        slowest, _ = min(self._bodies.items(), key=rate)
        slowest.refuse(TOO_SLOW[State.BODY])

    def _watch_later(self) -> None:
        due = self.loop.time() + _WATCH_SECONDS
        self.loop.call_at(due, self._watch, due)

    def _watch(self, due: float) -> None:
        """Time out connections; runs periodically while there are connections."""
        metrics.loop_lag.add(max(self.loop.time() - due, 0))
        self._watching = bool(self._open)
        if self._watching:
            self._watch_later()
        now, settings = monotonic(), self._settings
        overdue = [each for each, since in self._bodies.items() if now - since > settings.body_timeout_seconds]
        for waiting in (self._fresh, self._kept):
            for connection, since in waiting.items():
                idle = connection.asked and connection.state is State.IDLE
                longest = self._keep_alive_seconds if idle else settings.header_timeout_seconds
                if now - since > longest:
                    overdue.append(connection)
        for connection in overdue:
            connection.time_out()


def _return_freed_memory() -> None:
    """Make glibc return the memory of freed large bodies. By default it stops doing so after the first one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _raise_open_file_limit(number: int) -> None:
    """Raise the process's limit of open files, which is often 1,024, as far as the system allows."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < number:
        wanted = number if most == resource.RLIM_INFINITY else min(number, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
        if wanted < number:
            logger.warning("open file limit is below max_connections", extra={"fields": {"limit": wanted}})
