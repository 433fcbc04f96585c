"""Progress and interruption of long-running commands."""

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
"""The exit code of a process that a signal ended is this plus the signal's number."""
_SECONDS_BETWEEN_LINES = 30


class Interrupted(BaseException):
    """A signal asked the process to end."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` on SIGINT and SIGTERM."""
    pa.enable_signal_handlers(False)  # otherwise Arrow's readers would handle them
    former = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> NoReturn:
    raise Interrupted(number)


class Progress:
    """Rows per second and remaining time: a bar on a terminal, a line every 30 seconds in a log."""

    def __init__(self) -> None:
        self.rows = 0

    def __enter__(self) -> None:
        """Draw the bar."""
        self._bar = tqdm(unit="rows", unit_scale=True, disable=None, leave=False)
        self._begin = self._logged = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, rows: int, done: float) -> None:
        """Add rows; estimate their total from the share that is done."""
        self.rows += rows
        self._bar.total = round(self.rows / done)
        self._bar.update(rows)
        now = time.monotonic()
        if self._bar.disable and now - self._logged >= _SECONDS_BETWEEN_LINES and done < 1:
            self._logged, seconds = now, now - self._begin
            logger.info(
                "%s rows (%.0f %%), %s rows/s, %.0f s left.",
                f"{self.rows:,}",
                100 * done,
                f"{self.rows / seconds:,.0f}",
                seconds / done - seconds,
            )
