"""Services that several modules ask: as it ships, and with the models for tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture(scope="module")
def service(start_service: Callable[..., Service], archive_path: Path) -> Service:
    """A ready service with the small archive, bodies bounded to a second, and the models for tests."""
    service = start_service(
        settings={"body_timeout_seconds": 0.5, "max_concurrent_slow_predictions": 2},
        more_models=(
            "credit_risk_model.prediction.batch.CreditRiskBatch",
            *(f"models_for_tests.{name}" for name in ("SlowModel", "BrokenModel", "ChoosyModel", "OddModel")),
        ),
        archive=str(archive_path),
    )
    service.wait_for("/api/health/ready")
    return service
