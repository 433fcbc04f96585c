"""Commands that take long: what they tell whoever waits for them, and how they end where they are interrupted."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pyarrow as pa
from tqdm import tqdm

logger = logging.getLogger(__name__)

SIGNALLED = 128
"""Added to a signal's number, it is the exit code of what the signal ended."""
_SECONDS_BETWEEN_LINES = 30


class Interrupted(BaseException):
    """A signal asks the process to end."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the signals that ask a process to end raise `Interrupted`."""
    pa.enable_signal_handlers(False)  # they are handled here, not by what is being read at the moment
    former = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> NoReturn:
    raise Interrupted(number)


class Progress:
    """Rows a second and the time that is left: a bar on a terminal, a line now and then in a log."""

    def __init__(self) -> None:
        self.rows = 0

    def __enter__(self) -> None:
        """Draw the bar."""
        self._bar = tqdm(unit="rows", unit_scale=True, disable=None, leave=False)
        self._begin = self._told = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, rows: int, done: float) -> None:
        """Take note of more rows; how many there are in all is estimated from the share that is done."""
        self.rows += rows
        self._bar.total = round(self.rows / done)
        self._bar.update(rows)
        now = time.monotonic()
        if self._bar.disable and now - self._told >= _SECONDS_BETWEEN_LINES and done < 1:
            self._told, seconds = now, now - self._begin
            logger.info(
                "%s rows (%.0f %%), %s rows/s, %.0f s left.",
                f"{self.rows:,}",
                100 * done,
                f"{self.rows / seconds:,.0f}",
                seconds / done - seconds,
            )
