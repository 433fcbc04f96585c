"""A request's raw parts: its headers, its id, its body; over plain ASGI."""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from random import getrandbits
from time import monotonic
from typing import Any

from credit_risk_model.service.answers import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# application/json, with parameters, or a type that is JSON by its suffix.
_JSON_TYPE = re.compile(rb"application/([a-z0-9.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_LONGEST_LENGTH = 20
# Of a body that is refused, the rest is not read: the connection can't be used again.
_CLOSE = [(b"connection", b"close")]


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


def request_id(scope: Scope) -> str:
    """Give the client's X-Request-ID where it is fit for a log, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode())
    return f"{getrandbits(64):016x}"  # told apart, not kept secret


class BodyReader:
    """Reads requests' JSON bodies, within bounds of size and time.

    One watchdog looks after all bodies that are arriving: a timer for each request would cost as much as a prediction.
    """

    _WATCH_SECONDS = 0.5

    def __init__(self, seconds: float, most: int) -> None:
        """Bound the time in which a body must arrive, give or take half a second, and how many may be arriving."""
        self._seconds = seconds
        self._most = most
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()

    async def watch(self) -> None:
        """Interrupt readers whose time is over; to be run as a task as long as the service runs."""
        while True:
            await asyncio.sleep(self._WATCH_SECONDS)
            now = monotonic()
            for task in [task for task, deadline in self._deadlines.items() if deadline < now]:
                self._overdue.add(task)
                task.cancel()

    async def read(self, scope: Scope, receive: Receive, largest: int) -> bytes:
        """Read a body.

        Raises:
            Refusal: It says that it is no JSON, or packed; it has more than `largest` bytes, of which no more is read
                than shows that; it did not arrive in time; or too many others are arriving.
            ClientGone: The client went away.
        """
        for name, value in scope["headers"]:
            # The server has checked that a length is a number, though not that Python takes one of so many digits.
            if name == b"content-length" and (len(value) > _LONGEST_LENGTH or int(value) > largest):
                raise _too_large(largest)
            if name == b"content-type" and value != b"application/json" and not _JSON_TYPE.fullmatch(value.strip()):
                raise Refusal(415, "media_type", "UnsupportedMediaType", ["Send the loan as JSON: application/json."])
            if name == b"content-encoding" and value != b"identity":
                raise Refusal(415, "media_type", "UnsupportedMediaType", ["Send the loan without Content-Encoding."])
        if len(self._deadlines) >= self._most:
            raise Refusal(
                503, "busy", "ServiceBusy", ["Too many predictions at once."], [(b"retry-after", b"1"), *_CLOSE]
            )
        task = asyncio.current_task()
        assert task is not None
        self._deadlines[task] = monotonic() + self._seconds
        try:
            return await _read_all(receive, largest)
        except asyncio.CancelledError:
            if task not in self._overdue:
                raise
            task.uncancel()
            self._overdue.discard(task)
            raise Refusal(408, "slow", "RequestTimeout", ["The body did not arrive in time."], _CLOSE) from None
        finally:
            del self._deadlines[task]


async def _read_all(receive: Receive, largest: int) -> bytes:
    message = await receive()
    body = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body") and len(body) <= largest:
        return bytes(body)  # as nearly always: all of it at once
    parts = [body]
    size = len(body)
    while message["type"] == "http.request" and message.get("more_body") and size <= largest:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if message["type"] == "http.disconnect":
        raise ClientGone
    if size > largest:
        raise _too_large(largest)
    return b"".join(parts)


def _too_large(largest: int) -> Refusal:
    return Refusal(
        413,
        "too_large",
        "RequestTooLarge",
        [f"The body is larger than {largest} bytes."],
        _CLOSE,
    )
