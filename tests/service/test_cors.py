from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from processes import Service

from credit_risk_model.examples import EXAMPLE_LOAN

PREDICTION = "/api/models/credit_risk_model/prediction"
BANK = {"Origin": "https://bank.example"}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
ALLOWED = "access-control-allow-origin"


@pytest.fixture(scope="module")
def open_service(start_service: Callable[..., Service], archive_path: Path) -> Service:
    """A ready service that lets the bank's pages call it."""
    service = start_service(settings={"cors_origins": ["https://bank.example"]}, archive=str(archive_path))
    service.wait_for("/api/health/ready")
    return service


def test_other_origins_are_not_let_in_unless_named(shipped: Service) -> None:
    """As it ships, the service allows no origin: the answers to a preflight and to a request name none."""
    preflight = httpx.options(shipped.address + PREDICTION, headers=BANK | PREFLIGHT)
    assert (preflight.status_code, preflight.headers["allow"]) == (200, "OPTIONS, POST")
    answer = httpx.post(shipped.address + PREDICTION, json=EXAMPLE_LOAN, headers=BANK)
    assert answer.status_code == 200
    for headers in (preflight.headers, answer.headers):
        assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.parametrize(("loan", "status"), [(EXAMPLE_LOAN, 200), ({}, 400)])
def test_named_origin_may_read_answers(open_service: Service, loan: dict[str, object], status: int) -> None:
    """A named origin passes the preflight, and may read answers and errors with their request ids."""
    preflight = httpx.options(open_service.address + PREDICTION, headers=BANK | PREFLIGHT)
    assert (preflight.status_code, preflight.headers[ALLOWED]) == (200, "https://bank.example")
    answer = httpx.post(open_service.address + PREDICTION, json=loan, headers=BANK)
    assert (answer.status_code, answer.headers[ALLOWED]) == (status, "https://bank.example")
    assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


def test_origin_that_is_not_named_may_not(open_service: Service) -> None:
    """Where one origin is named, another's preflight fails, and its answers are not for its pages."""
    other = {"Origin": "https://evil.example"}
    assert httpx.options(open_service.address + PREDICTION, headers=other | PREFLIGHT).status_code == 400
    assert ALLOWED not in httpx.post(open_service.address + PREDICTION, json=EXAMPLE_LOAN, headers=other).headers
