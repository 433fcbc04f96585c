"""The table of what the service answers: what is not in it is not there, whatever the framework has routes for."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from credit_risk_model.service.server import Answer, Request

Group = Literal["health", "predictions", "metadata", "docs", "metrics"]
"""The part of the service that a route belongs to; keys protect parts, but never health."""


def group_of(path: str) -> Group:
    """Return the part of the service that a path belongs to; what is nowhere else is among the documentation."""
    if path == "/metrics":
        return "metrics"
    if path.startswith("/api/health"):
        return "health"
    if path.startswith("/api/models"):
        return "predictions" if path.endswith("/prediction") else "metadata"
    return "docs"


Handler = Callable[[Request], Answer | Awaitable[Answer]]
"""Answers a request, at once where that takes no time."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a path answers.

    Attributes:
        handlers: By method; HEAD is answered as GET, and OPTIONS by their names.
        takes_json: Whether a request's body is read, and must be JSON.
        template: Stands for the path in metrics, of which there must not be too many.
    """

    path: str
    group: Group
    handlers: Mapping[str, Handler]
    takes_json: bool = False
    template: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive the template."""
        template = self.path
        if self.group == "docs" and self.path != "/openapi.json":
            template = "/docs"
        elif self.path.endswith("/metadata"):
            template = "/api/models/{model}/metadata"
        object.__setattr__(self, "template", template)

    @property
    def allowed(self) -> bytes:
        """The methods, as the header `Allow` has them."""
        more = {"HEAD"} if "GET" in self.handlers else set()
        return ", ".join(sorted({*self.handlers, "OPTIONS", *more})).encode()


def answer_always(answer: Answer) -> Handler:
    """Return a handler that always answers the same."""

    def handle(_: Request) -> Answer:
        return answer

    return handle
