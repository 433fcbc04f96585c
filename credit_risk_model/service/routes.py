"""The table of what the service answers: what is not in it is not there, whatever the framework has routes for."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from credit_risk_model.service.server import Scope

Group = Literal["health", "predictions", "metadata", "docs", "metrics"]
"""The part of the service that a route belongs to; keys protect parts, but never health."""


def group_of(path: str) -> Group:
    """Give the part of the service that a path belongs to; what is nowhere else is among the documentation."""
    if path == "/metrics":
        return "metrics"
    if path.startswith("/api/health"):
        return "health"
    if path.startswith("/api/models"):
        return "predictions" if path.endswith("/prediction") else "metadata"
    return "docs"


class Answer(NamedTuple):
    """An answer, whole.

    Attributes:
        content: Its body; what is the same for all is one object, of which no connection needs a copy.
    """

    status: int
    content: bytes
    content_type: bytes = b"application/json"
    headers: Sequence[tuple[bytes, bytes]] = ()


Handler = Callable[[Scope, bytes, str], Awaitable[Answer]]
"""Answers a request of some scope and body, under an id."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a path answers.

    Attributes:
        template: Stands for the path in metrics, of which there must not be too many.
        handlers: By method; HEAD is answered as GET, and OPTIONS by their names.
        takes_json: Whether a request's body is read, and must be JSON.
    """

    template: str
    group: Group
    handlers: Mapping[str, Handler]
    takes_json: bool = False

    @property
    def allowed(self) -> bytes:
        """The methods, as the header `Allow` has them."""
        more = {"HEAD"} if "GET" in self.handlers else set()
        return ", ".join(sorted({*self.handlers, "OPTIONS", *more})).encode()


def answer_always(answer: Answer) -> Handler:
    """Give a handler that always answers the same."""

    async def handle(_scope: Scope, _body: bytes, _identity: str) -> Answer:
        return answer

    return handle
