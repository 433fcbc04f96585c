"""Decision log, written by a background thread: neither a slow nor a full disk blocks a request."""

import errno
import logging
import os
import sys
from collections import deque
from pathlib import Path
from threading import Event, Lock, Thread
from time import time
from typing import Any, BinaryIO

from pydantic import BaseModel

from credit_risk_model import decisions
from credit_risk_model.decisions import Chain, DecisionLogError
from credit_risk_model.errors import ConfigurationError
from credit_risk_model.service import metrics
from credit_risk_model.service.decision_lines import DecisionLines
from credit_risk_model.service.errors import RequestRefused
from credit_risk_model.service.logs import format_time
from credit_risk_model.service.server import Request
from credit_risk_model.service.settings import DecisionSettings

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.05  # waking up for each decision would take the GIL from the event loop as often
_RETRY_SECONDS = 1.0
_MAX_LINES_AT_ONCE = 50
_DAY = 86_400
_FAILING = RequestRefused(
    503, "decision_log", "DecisionLogFailing", ["Decisions can't be logged at the moment."], [(b"retry-after", b"1")]
)


class DecisionLog:
    """The decision log of one process.

    The thread that adds decisions serializes them, and the background thread writes them: two threads that both need
    the GIL would block each other.
    """

    def __init__(self, settings: DecisionSettings) -> None:
        """Open the log. A file of a previous process is rotated, and its chain continues.

        Raises:
            ConfigurationError: The key or the file can't be used.
        """
        self._settings = settings
        self._to_output = settings.file == "-"
        self._path = Path(settings.file)
        self._lines = DecisionLines()
        self._lock = Lock()  # guards the chain, and the lines that the writer has not taken yet
        self._made: list[bytes] = []
        self._made_decisions = self._unwritten_decisions = 0
        self._ended = Event()
        self._failing = False
        # Lines to write; None means: rotate the file.
        self._unwritten: deque[bytes | None] = deque()
        self._first_lines: deque[int] = deque()  # first line numbers of the files to rotate
        try:
            self._chain = Chain(decisions.read_key(Path(settings.key_file)), *self._rotate_previous_file())
            self._open()
            self._unwritten.append(self._make_first_line())
            self._write()
        except DecisionLogError as error:
            raise ConfigurationError(str(error)) from None
        except OSError as error:
            raise ConfigurationError(f"{self._path}: can't be written ({error.strerror}).") from None
        self._head = self._chain.number, self._chain.mac
        self._thread = Thread(target=self._run, name="decision log", daemon=True)
        self._thread.start()
        self._announce("decision log opened")

    def check(self) -> None:
        """Refuse a prediction that can't be logged.

        Raises:
            RequestRefused: It can't be logged, and the setting is `refuse`.
        """
        if self._settings.when_failing == "refuse" and (self._failing or self._is_behind()):
            raise _FAILING

    def add(self, at: float, request: Request, model: Any, asked: BaseModel, answered: BaseModel) -> None:
        """Queue a request's decisions for the log; thread-safe.

        Args:
            at: Time of the decisions, in seconds since the epoch.
            request: The request.
            model: The model that predicted.
            asked: The loan or the batch.
            answered: The decision, or the batch's decisions.
        """
        parts = self._lines.make(at, request, model, asked, answered)
        if self._settings.when_failing == "continue" and self._is_behind():
            metrics.decisions_lost.inc(len(parts))
            return
        for start in range(0, len(parts), _MAX_LINES_AT_ONCE):
            with self._lock:  # released between parts of a batch, since other threads wait for it
                some = parts[start : start + _MAX_LINES_AT_ONCE]
                self._made += [self._chain.add("decision", members, personal) for members, personal in some]
                self._made_decisions += len(some)

    def set_metrics(self) -> None:
        """Set the metrics: number and `mac` of the same line."""
        number, mac = self._head
        metrics.decision_log_lines.set(number)
        metrics.decision_log_head.set(decisions.head_number(mac))
        metrics.decision_log_failing.set(self._failing)

    def close(self) -> None:
        """Write the queued lines and seal the file."""
        self._ended.set()
        self._thread.join(_RETRY_SECONDS * 2)
        if self._is_behind(1):
            logger.error("decisions not logged", extra={"fields": {"number": self._count_unwritten()}})
        self._announce("decision log closed")

    def _count_unwritten(self) -> int:
        return self._made_decisions + self._unwritten_decisions

    def _is_behind(self, number: int | None = None) -> bool:
        return self._count_unwritten() >= (number or self._settings.max_waiting)

    def _announce(self, event: str) -> None:
        number, mac = self._head
        logger.info(event, extra={"fields": {"line": number, "mac": mac}})

    def _rotate_previous_file(self) -> tuple[str, int]:
        """Return the last line of a previous process's log, and rotate its file."""
        if self._to_output:
            return decisions.START, 0
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not (previous := decisions.find_files(self._path)):
            return decisions.START, 0
        last = decisions.last_line(previous[-1])
        if previous[-1] == self._path:
            first = next(decisions.records([self._path], "begin"), {"n": 0})
            self._rename_file(first["n"])
        return last

    def _rename_file(self, first_line: int) -> None:
        rotated = decisions.sealed_name(self._path, first_line)
        if rotated.exists():
            raise FileExistsError(errno.EEXIST, f"{rotated.name} exists", str(rotated))
        self._path.rename(rotated)

    def _open(self) -> None:
        if self._to_output:
            self._file: BinaryIO = sys.stdout.buffer
        else:  # readable for the owner alone
            self._file = os.fdopen(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb", buffering=0)

    def _make_first_line(self) -> bytes:
        """Return a file's first line."""
        self._size, self._day = 0, int(time() // _DAY)
        self._first_line = self._chain.number + 1
        members = b'"log":1,"time":"%b","follows":"%b"' % (_now(), self._chain.mac.encode())
        return self._chain.add("begin", members)

    def _make_last_line(self) -> bytes:
        """Return a file's last line."""
        return self._chain.add("seal", b'"time":"%b"' % _now())

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._ended.wait(_PAUSE_SECONDS)
            head = self._take_lines(ending)
            if self._try_to_write():
                self._head = head
                metrics.decisions_logged.inc(self._unwritten_decisions)
                self._unwritten_decisions = 0

    def _take_lines(self, ending: bool) -> tuple[int, str]:
        """Take the queued lines, and rotate the file if it is full; return the last line's number and `mac`."""
        with self._lock:
            made, self._made = b"".join(self._made), []
            self._unwritten_decisions += self._made_decisions
            self._made_decisions = 0
            self._size += len(made)
            full = self._size > self._settings.max_file_bytes or time() // _DAY != self._day
            if ending:
                self._unwritten.append(made + self._make_last_line())
            elif full and not self._to_output:
                first_line = self._first_line
                self._unwritten += [made + self._make_last_line(), None, self._make_first_line()]
                self._first_lines.append(first_line)
            else:
                self._unwritten.append(made)
            return self._chain.number, self._chain.mac

    def _try_to_write(self) -> bool:
        """Write the taken lines; retry until that succeeds or the service ends."""
        while True:
            try:
                self._write()
            except OSError as error:
                if not self._failing:
                    logger.error("decision log can't be written", extra={"fields": {"reason": error.strerror}})
                self._failing = True
                if self._ended.wait(_RETRY_SECONDS):
                    return False
            else:
                if self._failing:
                    logger.info("decision log can be written again")
                self._failing = False
                return True

    def _write(self) -> None:
        """Write the taken lines; after a partial write on a full disk, continue with the rest."""
        while self._unwritten:
            first = self._unwritten[0]
            if first is None:
                self._open_next_file()
            while first:
                written = self._file.write(first)
                first = self._unwritten[0] = first[written:]
            self._unwritten.popleft()
        if self._to_output:
            self._file.flush()

    def _open_next_file(self) -> None:
        """Rotate the file; can be called again if it failed."""
        if self._path.exists():
            os.fsync(self._file.fileno())
            self._rename_file(self._first_lines[0])
            self._file.close()
        self._open()
        self._first_lines.popleft()
        logger.info("decision log rotated")


def _now() -> bytes:
    return format_time(int(time() * 1000)).encode()
