"""The server: uvicorn, with what it lacks. Nothing outside this folder knows uvicorn's or httptools' insides."""

from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple, Protocol

from credit_risk_model.service.errors import Headers, RequestRefused


class Answer(NamedTuple):
    """An answer, whole.

    Attributes:
        content: Its body; what is the same for all is one object, of which no connection needs a copy.
    """

    status: int
    content: bytes
    content_type: bytes = b"application/json"
    headers: Sequence[tuple[bytes, bytes]] = ()


class Request:
    """A request as it arrives.

    Attributes:
        path: Without escapes, and without the query; empty where nothing that can be read arrived.
        headers: Names in lower case.
        body: What has arrived of it.
        refusal: Why it is refused; its body is then not kept.
        identity: Under which the log tells of it and the answer names it.
        trace_id: Of the trace that the client's request is a part of.
        key_name, reference, route, endpoint, outcome: The application's own: who asks, under which name, where it
            leads, and what came of it.
        max_body_bytes: The most that its body may have.
        keep_alive: Whether another may follow on its connection.
        expects_continue: Whether the client waits to be told to send the body.
        began: When its first byte arrived, in seconds of `time.perf_counter`.
    """

    __slots__ = (
        *("method", "path", "headers", "body", "refusal", "identity", "trace_id"),
        *("key_name", "reference", "route", "endpoint", "outcome"),
        *("max_body_bytes", "keep_alive", "expects_continue", "began"),
    )

    def __init__(self, method: str, path: str, headers: Headers, began: float) -> None:
        """Begin with an empty body."""
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
    """What the server asks of the application that it serves."""

    def admit(self, request: Request) -> None:
        """Decide on a request by its line and headers: give it an identity and a bound on its body, or a refusal."""

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Answer a request whose body is whole, or that is refused; at once, unless it would hold others up."""

    def note(self, request: Request, answer: Answer | None) -> None:
        """Take note of an answer that has left; None where the client went away before."""

    def drain(self) -> None:
        """Note that the process is about to end: from now on traffic is unwelcome, but answered."""
