"""Routing table of the service: a path that is not in it does not exist, even if the framework has a route for it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from credit_risk_model.service.server import Answer, Request

Group = Literal["health", "predictions", "metadata", "docs", "metrics"]
"""Part of the service that a route belongs to. API keys protect parts, but never health."""


def group_of(path: str) -> Group:
    """Return the part of the service that a path belongs to; unknown paths belong to the documentation."""
    if path == "/metrics":
        return "metrics"
    if path.startswith("/api/health"):
        return "health"
    if path.startswith("/api/models"):
        return "predictions" if path.endswith("/prediction") else "metadata"
    return "docs"


Handler = Callable[[Request], Answer | Awaitable[Answer]]
"""Returns the response to a request, directly if that takes no time."""


@dataclass(frozen=True, slots=True)
class Route:
    """A path and its handlers.

    Attributes:
        handlers: Handlers by method. HEAD uses the one for GET, and OPTIONS lists the methods.
        takes_json: Whether the request has a body, which must be JSON.
        template: Label for the path in metrics, which keeps the number of labels small.
    """

    path: str
    group: Group
    handlers: Mapping[str, Handler]
    takes_json: bool = False
    template: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive the template from the path."""
        template = self.path
        if self.group == "docs" and self.path != "/openapi.json":
            template = "/docs"
        elif self.path.endswith("/metadata"):
            template = "/api/models/{model}/metadata"
        object.__setattr__(self, "template", template)

    @property
    def allowed(self) -> bytes:
        """The methods, as a value of the header `Allow`."""
        more = {"HEAD"} if "GET" in self.handlers else set()
        return ", ".join(sorted({*self.handlers, "OPTIONS", *more})).encode()


def answer_always(answer: Answer) -> Handler:
    """Return a handler that always returns the same response."""

    def handle(_: Request) -> Answer:
        return answer

    return handle
