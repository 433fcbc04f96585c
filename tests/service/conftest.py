"""The service as it ships, for tests that only ask it."""

from collections.abc import Iterator

import pytest
from conftest import CONFIGURATION
from processes import Service


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A ready service of the shipped configuration and archive."""
    service = Service(CONFIGURATION, tmp_path_factory.mktemp("shipped") / "log")
    service.wait_for("/api/health/ready")
    yield service
    service.stop()
