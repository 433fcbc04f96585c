"""Request headers: the request id, the decision reference, and whether the body can be read."""

import re
from random import getrandbits

from credit_risk_model.service.errors import Headers, RequestRefused
from credit_risk_model.service.server import Request

MAX_REFERENCE = 128
"""Maximum number of characters in a client's own name for a decision."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# https://www.w3.org/TR/trace-context/: an id of zeros is invalid.
_TRACE_PARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_REFERENCE = re.compile(rb"[A-Za-z0-9._:/-]{1,%d}" % MAX_REFERENCE)
# application/json, with parameters, or a type with a +json suffix.
_JSON_TYPE = re.compile(rb"application/([a-z0-9.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_MAX_DIGITS = 20


def identify(request: Request) -> None:
    """Set a request's id, from its X-Request-ID if that is safe to log, else a new one; and its trace id."""
    for name, value in request.headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request.identity = value.decode()
        elif name == b"traceparent" and (parts := _TRACE_PARENT.fullmatch(value)):
            request.trace_id = parts[1].decode()
    if not request.identity:
        request.identity = f"{getrandbits(64):016x}"  # must be unique, not secret


def decision_reference(headers: Headers) -> str | None:
    """Return the client's X-Decision-Reference; None without one.

    Raises:
        RequestRefused: The header is invalid.
    """
    for name, value in headers:
        if name == b"x-decision-reference":
            if not _REFERENCE.fullmatch(value):
                raise RequestRefused(
                    400,
                    "invalid",
                    "ValidationError",
                    [f"X-Decision-Reference: 1 to {MAX_REFERENCE} letters, digits, '.', '_', ':', '/' or '-'."],
                )
            return value.decode()
    return None


def check_body_headers(headers: Headers, max_body_bytes: int) -> None:
    """Refuse a request whose headers announce a body that is too large, not JSON or compressed.

    Raises:
        RequestRefused: They do.
    """
    for name, value in headers:
        # The parser has checked that the length is a number, but Python refuses numbers with too many digits.
        if name == b"content-length" and (len(value) > _MAX_DIGITS or int(value) > max_body_bytes):
            raise too_large(max_body_bytes)
        if name == b"content-type" and value != b"application/json" and not _JSON_TYPE.fullmatch(value.strip()):
            raise RequestRefused(
                415, "media_type", "UnsupportedMediaType", ["Send the loan as JSON: application/json."]
            )
        if name == b"content-encoding" and value != b"identity":
            raise RequestRefused(415, "media_type", "UnsupportedMediaType", ["Send the loan without Content-Encoding."])


def too_large(max_body_bytes: int) -> RequestRefused:
    """Create the refusal of a body that is too large."""
    return RequestRefused(413, "too_large", "RequestTooLarge", [f"The body is larger than {max_body_bytes} bytes."])
