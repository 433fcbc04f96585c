"""One JSON object a line: what the YAML's `logging:` may name as its formatter and handler, and a request's line.

Names are those of OpenTelemetry's log data model and semantic conventions, flattened; what these don't know has a plain
name of our own. docs/logs.md has them.
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
    """Write a time since the epoch in UTC; what is written together often shares it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: timestamp, severity, body, logger, and what it carries as `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback stands in it as one string, an error of ours as what it says."""
        line = {
            "timestamp": format_time(int(record.created * 1000)),
            "severity": record.levelname,
            "body": record.getMessage(),
            "otel.scope.name": record.name,
        }
        line.update(getattr(record, "fields", ()))
        if record.exc_info:
            error = record.exc_info[1]
            if isinstance(error, CreditRiskError):  # says what is wrong and what to do; where it came from adds nothing
                line["exception.message"] = str(error)
            else:
                line["exception.stacktrace"] = self.formatException(record.exc_info)
        text = to_json(line, fallback=str).decode()
        # What other readers take for the end of a line, or turn the text around by, is escaped.
        return text if text.isprintable() else json.dumps(json.loads(text))


class BatchingHandler(logging.StreamHandler[TextIO]):
    """Writes to standard error, records of which more follow at once together with those.

    To write each request's line by itself costs as much as a prediction.
    """

    def __init__(self) -> None:
        """Write to standard error."""
        super().__init__()
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record; called with the handler's lock held."""
        try:
            self._lines.append(f"{self.format(record)}\n")
        except Exception:  # a formatter of the user's own: it must not take the others' lines with it
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
    """Write the lines of answered requests, never their content.

    Args:
        lines: Of each the time, in seconds since the epoch, and what it tells.
    """
    if not _requests.isEnabledFor(logging.INFO):
        return
    last = len(lines) - 1
    for place, (created, fields) in enumerate(lines):
        # A copy of one that was made the usual way: what that looks up (caller, thread, process, time in three forms)
        # is half of the log's cost, and the same for all of these but the time.
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
    """Write the line of a fault of ours, under its request's id.

    It holds the error's type and where it came from, but not its text: that may quote a borrower's value.
    """
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
    fields = {"request_id": identity, "error.type": type(error).__name__, "code.stacktrace": "\n".join(places)}
    _faults.error("fault", extra={"fields": fields})
