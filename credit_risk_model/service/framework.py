"""The parts of `rest_model_service` that are used: model loading, health, startup and readiness."""

from fastapi import FastAPI
from rest_model_service.helpers import create_app
from rest_model_service.schemas import ReadinessStatus, StartupStatus
from rest_model_service.status_manager import StatusManager
from starlette.types import Message

from credit_risk_model.service.server import Answer
from credit_risk_model.service.settings import Configuration


class Framework:
    """The framework's application.

    Attributes:
        app: The ASGI application; at the lifespan's start it loads the models in a background thread.
    """

    def __init__(self, configuration: Configuration) -> None:
        """Create the application."""
        self.app: FastAPI = create_app(configuration)
        self._status = StatusManager()

    def has_started(self) -> bool:
        """Return whether loading has finished, successfully or not."""
        return self._status.get_startup_status() is StartupStatus.STARTED

    def is_ready(self) -> bool:
        """Return whether all models are loaded and the service accepts traffic."""
        return self._status.get_readiness_status() is ReadinessStatus.ACCEPTING_TRAFFIC

    def refuse_traffic(self) -> None:
        """Make the readiness endpoint report that the service refuses traffic."""
        self._status.set_readiness_status(ReadinessStatus.REFUSING_TRAFFIC)

    async def ask(self, path: str) -> Answer:
        """Return the response of one of the framework's own routes."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        asked = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
        await self.app(asked, receive, send)
        start, *parts = sent
        return Answer(start["status"], b"".join(part.get("body", b"") for part in parts))
