"""Error responses: one format for all, which never contains the value that caused the error."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails, to_json

Headers = list[tuple[bytes, bytes]]

_MAX_MESSAGES = 100
_MAX_NAME_CHARACTERS = 100


class RequestRefused(Exception):
    """A request that gets an error response.

    Attributes:
        status: HTTP status code.
        reason: One word for the metrics.
        headers: Additional headers of the response.
        fields: Names of the invalid fields; never a value, nor a name that the client made up.
    """

    def __init__(self, status: int, reason: str, kind: str, messages: Sequence[str], headers: Headers | None = None):
        super().__init__(reason)
        self.fields: list[str] = []
        self.status = status
        self.reason = reason
        self.headers = headers or []
        self.body = error_body(kind, messages)


def error_body(kind: str, messages: Sequence[str]) -> bytes:
    """Return the JSON of an error: `type` and `messages`, as in the framework."""
    return to_json({"type": kind, "messages": messages})


def invalid(errors: Sequence[ErrorDetails | dict[str, Any]], within: tuple[str, ...] = ()) -> RequestRefused:
    """Create the refusal of an invalid request, worded as in the framework.

    Args:
        errors: Pydantic's errors, without inputs.
        within: Prefix of each location, such as `body`.
    """
    messages = []
    for error in errors[:_MAX_MESSAGES]:
        location = ", ".join(str(part)[:_MAX_NAME_CHARACTERS] for part in (*within, *error["loc"]))
        messages.append(f"Field '{location}' has error '{error['type']}', {error['msg']}.")
    if len(errors) > _MAX_MESSAGES:
        messages.append(f"And {len(errors) - _MAX_MESSAGES} more errors.")
    refusal = RequestRefused(400, "invalid", "ValidationError", messages)
    refusal.fields = sorted({_name_field(error) for error in errors[:_MAX_MESSAGES]})
    return refusal


def _name_field(error: ErrorDetails | dict[str, Any]) -> str:
    """Return the innermost field name. The index of a loan in a batch is of no use in a log."""
    if error["type"] == "extra_forbidden":
        return "(unknown field)"
    return next((part for part in reversed(error["loc"]) if isinstance(part, str)), "(body)")


def internal_error(identity: str) -> RequestRefused:
    """Create the response to an internal error: it has the request id, under which the log has the details."""
    return RequestRefused(500, "fault", "ServiceError", [f"Internal error {identity}. The service's log says more."])
