"""The HTTP server: uvicorn with bounds. Only this folder uses uvicorn's and httptools' internals."""

from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple, Protocol

from credit_risk_model.service.errors import Headers, RequestRefused


class Answer(NamedTuple):
    """A complete response.

    Attributes:
        content: The body. A constant body is one shared object, so connections need no copy.
    """

    status: int
    content: bytes
    content_type: bytes = b"application/json"
    headers: Sequence[tuple[bytes, bytes]] = ()


class Request:
    """A request, possibly still arriving.

    Attributes:
        path: Decoded, without the query; empty if the request could not be parsed.
        headers: Names in lower case.
        body: The part that has arrived.
        refusal: Why the request is refused; its body is then dropped.
        identity: Request id for the log and the response.
        trace_id: Id of the client's trace.
        key_name, reference, route, endpoint, outcome: Set by the application: the name of the API key, the client's
            reference, the route and its endpoint, and the result.
        max_body_bytes: Maximum size of the body.
        keep_alive: Whether the connection stays open after the response.
        expects_continue: Whether the client waits for `100 Continue` before it sends the body.
        began: Time of the first byte, in seconds of `time.perf_counter`.
    """

    __slots__ = (
        *("method", "path", "headers", "body", "refusal", "identity", "trace_id"),
        *("key_name", "reference", "route", "endpoint", "outcome"),
        *("max_body_bytes", "keep_alive", "expects_continue", "began"),
    )

    def __init__(self, method: str, path: str, headers: Headers, began: float) -> None:
        """Create a request with an empty body."""
        self.method = method
        self.path = path
        self.headers = headers
        self.body = bytearray()
        self.refusal: RequestRefused | None = None
        self.identity = ""
        self.trace_id: str | None = None
        self.key_name: str | None = None
        self.reference: str | None = None
        self.route: Any = None
        self.endpoint: Any = None
        self.outcome: Any = None
        self.max_body_bytes = 0
        self.keep_alive = self.expects_continue = False
        self.began = began


class Served(Protocol):
    """What the server calls of the application."""

    def admit(self, request: Request) -> None:
        """Check a request's line and headers: set an identity, and a maximum body size or a refusal."""

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Return the response to a complete or refused request; as an awaitable if it would block others."""

    def note(self, request: Request, answer: Answer | None) -> None:
        """Record a request whose response was sent; None if the client disconnected before."""

    def drain(self) -> None:
        """Handle the start of a graceful shutdown: report not ready, but keep answering."""
