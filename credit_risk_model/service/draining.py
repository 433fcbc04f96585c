"""Answering what is already on its way when the process is told to end.

uvicorn closes idle keep-alive connections the moment it begins to shut down, and a request that lies unread in such a
connection is reset. So the signal first starts a drain: requests go on being answered, each answer asks its client to
close the connection, and uvicorn's own shutdown begins when no request has come for a moment.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from types import FrameType

_QUIET_SECONDS = 0.25


class Drain:
    """Stands between SIGTERM and the server's own handler of it.

    Attributes:
        under_way: Whether answers must carry `Connection: close`.
    """

    def __init__(self, longest: float, on_begin: Callable[[], None]) -> None:
        """Prepare a drain.

        Args:
            longest: Seconds after which the server shuts down, whatever still comes.
            on_begin: Called when the drain begins, in the event loop.
        """
        self.under_way = False
        self._longest = longest
        self._on_begin = on_begin
        self._last_request = 0.0

    def install(self) -> None:
        """Take SIGTERM over from the server; to be called in its event loop, once its own handlers are set."""
        server_handler = signal.getsignal(signal.SIGTERM)
        if not callable(server_handler):
            return  # a server that doesn't handle it, as in tests without a process: nothing to stand before
        loop = asyncio.get_running_loop()

        def begin(number: int, frame: FrameType | None) -> None:
            # A second signal is somebody's impatience: the server hears of it at once.
            if self.under_way:
                server_handler(number, frame)
            else:
                self.under_way = True
                loop.call_soon_threadsafe(self._start, lambda: server_handler(number, frame))

        signal.signal(signal.SIGTERM, begin)

    def note_request(self) -> None:
        """Note that a request came while draining."""
        self._last_request = time.monotonic()

    def _start(self, shut_down: Callable[[], object]) -> None:
        # Held, since the event loop holds its tasks weakly only.
        self._task = asyncio.get_running_loop().create_task(self._finish(shut_down))

    async def _finish(self, shut_down: Callable[[], object]) -> None:
        self._on_begin()
        began = self._last_request = time.monotonic()
        while (now := time.monotonic()) < began + self._longest and now < self._last_request + _QUIET_SECONDS:
            await asyncio.sleep(0.05)
        shut_down()
