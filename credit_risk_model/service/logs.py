"""One JSON object a line: what the YAML's `logging:` may name as its formatter, and a request's line."""

import logging
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

_requests = logging.getLogger("credit_risk_model.service.requests")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, event, logger, and what the record carries as `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line; a traceback stands in it as one string."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "event": record.getMessage(),
            "logger": record.name,
        }
        line.update(getattr(record, "fields", ()))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return to_json(line, fallback=str).decode()


def log_request(fields: dict[str, Any]) -> None:
    """Write the line of an answered request: its id, method, path, status and time; never its content."""
    if _requests.isEnabledFor(logging.INFO):
        # Past `info`, which looks for the calling line in the stack: half of the log's cost.
        extra = {"fields": fields}
        _requests.handle(
            _requests.makeRecord(_requests.name, logging.INFO, __file__, 0, "request", (), None, extra=extra)
        )
