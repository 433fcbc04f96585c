"""Services whose clients have little time, or little room."""

from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Service


@pytest.fixture(scope="module")
def service(start_service: Callable[..., Service], archive_path: Path) -> Service:
    """A ready service with short times, and a model that takes long."""
    service = start_service(
        settings={"header_timeout_seconds": 1, "body_timeout_seconds": 3, "max_concurrent_bodies": 4},
        more_models=("models_for_tests.SlowModel",),
        archive=str(archive_path),
    )
    service.wait_for("/api/health/ready")
    return service


@pytest.fixture(scope="module")
def small(start_service: Callable[..., Service], archive_path: Path) -> Service:
    """A ready service with room for three connections, and a model that takes long."""
    service = start_service(
        settings={"max_connections": 3, "header_timeout_seconds": 2},
        more_models=("models_for_tests.SlowModel",),
        archive=str(archive_path),
    )
    service.wait_for("/api/health/ready")
    return service
