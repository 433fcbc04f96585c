"""The server: uvicorn, with what it lacks. Nothing outside this folder knows uvicorn's or httptools' insides."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Served(Protocol):
    """What the server asks of the application that it serves, besides being an ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose body is whole, or that is refused: `scope["refusal"]` then says how."""

    def admit(self, scope: Scope) -> int:
        """Decide on a request by its line and headers.

        Returns:
            The most bytes that its body may have.

        Raises:
            Refusal: It is refused, whatever its body.
        """

    def drain(self) -> None:
        """Note that the process is about to end: from now on traffic is unwelcome, but answered."""
