"""Structured logs, one JSON object a line: formatter and handler for the YAML's `logging:`, and the request lines.

Names are those of OpenTelemetry's log data model and semantic conventions, flattened. Anything they lack has a plain
name of our own. docs/logs.md lists the names.
"""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from traceback import extract_tb
from typing import Any, TextIO

from pydantic_core import to_json

from credit_risk_model.errors import CreditRiskError

_requests = logging.getLogger("credit_risk_model.service.requests")
_faults = logging.getLogger("credit_risk_model.service.faults")


@lru_cache(maxsize=4)
def format_time(milliseconds: int) -> str:
    """Format a time since the epoch in UTC; cached, since lines written together often share it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON line: timestamp, severity, body, logger, and the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with a traceback as one string, or only the message for this package's errors."""
        line = {
            "timestamp": format_time(int(record.created * 1000)),
            "severity": record.levelname,
            "body": record.getMessage(),
            "otel.scope.name": record.name,
        }
        line.update(getattr(record, "fields", ()))
        if record.exc_info:
            error = record.exc_info[1]
            if isinstance(error, CreditRiskError):  # the message says it all; a traceback adds nothing
                line["exception.message"] = str(error)
            else:
                line["exception.stacktrace"] = self.formatException(record.exc_info)
        text = to_json(line, fallback=str).decode()
        # Escape characters that other readers take for a line break, or that change the text's direction.
        return text if text.isprintable() else json.dumps(json.loads(text))


class BatchingHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error; buffers a record while its `more_follow` is set.

    Writing each request's line separately costs as much as a prediction.
    """

    def __init__(self) -> None:
        """Create a handler for standard error."""
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Buffer or write a record; called with the handler's lock held."""
        try:
            self._lines.append(f"{self.format(record)}\n")
        except Exception:  # a custom formatter failed: the other lines must not be lost
            self.handleError(record)
        if not getattr(record, "more_follow", False):
            lines, self._lines = self._lines, []
            try:
                self.stream.write("".join(lines))
                self.stream.flush()
            except Exception:
                self.handleError(record)


_TEMPLATE = logging.LogRecord(_requests.name, logging.INFO, __file__, 0, "request", (), None).__dict__


def log_requests(lines: Sequence[tuple[float, dict[str, Any]]]) -> None:
    """Write the lines of requests, never their content.

    Args:
        lines: For each request the time, in seconds since the epoch, and the fields.
    """
    if not _requests.isEnabledFor(logging.INFO):
        return
    last = len(lines) - 1
    for place, (created, fields) in enumerate(lines):
        # A copy of one record that was created normally: creating one looks up caller, thread, process and time, which
        # is half of the log's cost. All but the time is the same for these.
        record = logging.LogRecord.__new__(logging.LogRecord)
        record.__dict__ = {
            **_TEMPLATE,
            "created": created,
            "msecs": created % 1 * 1000,
            "fields": fields,
            "more_follow": place < last,
        }
        _requests.handle(record)


def log_fault(error: BaseException, identity: str) -> None:
    """Log an internal error under its request's id.

    The line has the error's type and stack trace, but not its text, which may contain a borrower's value.
    """
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
    fields = {"request_id": identity, "error.type": type(error).__name__, "code.stacktrace": "\n".join(places)}
    _faults.error("fault", extra={"fields": fields})
