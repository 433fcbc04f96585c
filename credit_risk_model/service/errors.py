"""Errors as the service tells them: one shape for all, and never the value that caused one."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails, to_json

Headers = list[tuple[bytes, bytes]]

_MAX_MESSAGES = 100
_MAX_NAME_CHARACTERS = 100


class RequestRefused(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        reason: One word for the metrics.
        headers: What the answer carries besides.
        fields: What was wrong, by its place in the request; never a value, nor a name that the client made up.
    """

    def __init__(self, status: int, reason: str, kind: str, messages: Sequence[str], headers: Headers | None = None):
        super().__init__(reason)
        self.fields: list[str] = []
        self.status = status
        self.reason = reason
        self.headers = headers or []
        self.body = error_body(kind, messages)


def error_body(kind: str, messages: Sequence[str]) -> bytes:
    """Return an error's JSON: `type` and `messages`, as the framework has it."""
    return to_json({"type": kind, "messages": messages})


def invalid(errors: Sequence[ErrorDetails | dict[str, Any]], within: tuple[str, ...] = ()) -> RequestRefused:
    """Make the refusal of an invalid request, in the framework's words.

    Args:
        errors: Pydantic's errors, without inputs.
        within: What stands before each location, such as `body`.
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
    """Return the field's innermost name. Which loan of a batch it belongs to is of no use in a log."""
    if error["type"] == "extra_forbidden":
        return "(unknown field)"
    return next((part for part in reversed(error["loc"]) if isinstance(part, str)), "(body)")


def internal_error(identity: str) -> RequestRefused:
    """Make the answer to a fault of the service: its request id, by which the log says more."""
    return RequestRefused(500, "fault", "ServiceError", [f"Internal error {identity}. The service's log says more."])
