"""What a request's headers say of it: its id, and whether its body can be read."""

import re
from random import getrandbits

from credit_risk_model.service.errors import Headers, RequestRefused
from credit_risk_model.service.server import Request

MAX_REFERENCE = 128
"""Characters of a client's own name of a decision."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# https://www.w3.org/TR/trace-context/: an id of zeros is none.
_TRACE_PARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_REFERENCE = re.compile(rb"[A-Za-z0-9._:/-]{1,%d}" % MAX_REFERENCE)
# application/json, with parameters, or a type that is JSON by its suffix.
_JSON_TYPE = re.compile(rb"application/([a-z0-9.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_MAX_DIGITS = 20


def identify(request: Request) -> None:
    """Give a request its client's X-Request-ID where that is fit for a log, else a new one; and its trace's id."""
    for name, value in request.headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request.identity = value.decode()
        elif name == b"traceparent" and (parts := _TRACE_PARENT.fullmatch(value)):
            request.trace_id = parts[1].decode()
    if not request.identity:
        request.identity = f"{getrandbits(64):016x}"  # told apart, not kept secret


def decision_reference(headers: Headers) -> str | None:
    """Return the client's X-Decision-Reference; None where it sends none.

    Raises:
        RequestRefused: It can't be one.
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
    """Refuse a body that says it is too large, no JSON or packed.

    Raises:
        RequestRefused: It says so.
    """
    for name, value in headers:
        # The parser has checked that a length is a number, though not that Python takes one of so many digits.
        if name == b"content-length" and (len(value) > _MAX_DIGITS or int(value) > max_body_bytes):
            raise too_large(max_body_bytes)
        if name == b"content-type" and value != b"application/json" and not _JSON_TYPE.fullmatch(value.strip()):
            raise RequestRefused(
                415, "media_type", "UnsupportedMediaType", ["Send the loan as JSON: application/json."]
            )
        if name == b"content-encoding" and value != b"identity":
            raise RequestRefused(415, "media_type", "UnsupportedMediaType", ["Send the loan without Content-Encoding."])


def too_large(max_body_bytes: int) -> RequestRefused:
    """Refuse a body by its size."""
    return RequestRefused(413, "too_large", "RequestTooLarge", [f"The body is larger than {max_body_bytes} bytes."])
