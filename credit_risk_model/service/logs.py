"""One JSON object a line: what the YAML's `logging:` may name as its formatter and handler, and a request's line."""

import asyncio
import json
import logging
from contextlib import nullcontext
from datetime import UTC, datetime
from time import time
from traceback import extract_tb
from typing import Any, TextIO

from pydantic_core import to_json

from credit_risk_model.errors import CreditRiskError

_requests = logging.getLogger("credit_risk_model.service.requests")
_faults = logging.getLogger("credit_risk_model.service.faults")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, event, logger, and what the record carries as `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line; a traceback stands in it as one string, an error of ours as what it says."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "event": record.getMessage(),
            "logger": record.name,
        }
        line.update(getattr(record, "fields", ()))
        if record.exc_info:
            error = record.exc_info[1]
            if isinstance(error, CreditRiskError):  # says what is wrong and what to do; where it came from adds nothing
                line["error"] = str(error)
            else:
                line["traceback"] = self.formatException(record.exc_info)
        text = to_json(line, fallback=str).decode()
        # What other readers take for the end of a line, or turn the text around by, is escaped.
        return text if text.isprintable() else json.dumps(json.loads(text))


class BatchingHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error; requests' lines together, a twentieth of a second late at most.

    Under load to format and write each of them at once costs as much as a prediction. Any other line is written at
    once, after those that wait.
    """

    _DELAY_SECONDS = 0.05
    _MOST_WAITING = 64  # more would hold the event loop up for longer than a request takes

    def __init__(self) -> None:
        """Write to standard error."""
        super().__init__()
        self._records: list[logging.LogRecord] = []
        self._scheduled = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; called with the handler's lock held."""
        try:
            self._records.append(record)
            if record.name != _requests.name or len(self._records) >= self._MOST_WAITING:
                self._write()
            elif not self._scheduled:
                asyncio.get_running_loop().call_later(self._DELAY_SECONDS, self.flush)
                self._scheduled = True
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits."""
        with self.lock or nullcontext():
            self._scheduled = False
            self._write()

    def _write(self) -> None:
        records, self._records = self._records, []
        self.stream.write("".join([self._line(record) for record in records]))
        self.stream.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return f"{self.format(record)}\n"
        except Exception:  # a formatter of the user's own: it must not take the others' lines with it
            self.handleError(record)
            return ""


_TEMPLATE = logging.LogRecord(_requests.name, logging.INFO, __file__, 0, "request", (), None).__dict__


def log_request(fields: dict[str, Any]) -> None:
    """Write the line of an answered request: its id, method, path, status and time; never its content."""
    if _requests.isEnabledFor(logging.INFO):
        # A copy of one that was made the usual way: what that looks up (caller, thread, process, time in three forms)
        # is half of the log's cost, and the same for all of these but the time.
        record = logging.LogRecord.__new__(logging.LogRecord)
        created = time()
        record.__dict__.update(_TEMPLATE)
        record.__dict__.update(created=created, msecs=created % 1 * 1000, fields=fields)
        _requests.handle(record)


def log_fault(error: BaseException, identity: str) -> None:
    """Write the line of a fault of ours, under its request's id.

    It holds the error's type and where it came from, but not its text: that may quote a borrower's value.
    """
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
    fields = {"request_id": identity, "error": type(error).__name__, "places": places}
    _faults.error("fault", extra={"fields": fields})
