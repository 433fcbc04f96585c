"""Calls from pages of other web origins: browsers refuse them, but for the origins that the settings name."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp


def allow_origins(application: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Let pages of these origins call the application; with none it stays as it is, and costs nothing."""
    if not origins:
        return application
    return CORSMiddleware(
        application,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
        expose_headers=["Retry-After", "X-Request-ID"],
    )
