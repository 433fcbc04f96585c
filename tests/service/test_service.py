"""What the framework's own application and the hardened one have in common, each as a process."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from conftest import ALL_MAXIMA, CONFIGURATION, ROOT
from processes import FRAMEWORK, Service

from credit_risk_model import __version__, archive
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.features import CONTRACT_FEATURES, Feature

PREDICTION = "/api/models/credit_risk_model/prediction"


@pytest.fixture(scope="module", params=[FRAMEWORK, ("credit_risk_model.service",)], ids=["framework", "service"])
def service(request: pytest.FixtureRequest, start_service: Callable[..., Service], archive_path: Path) -> Service:
    """A ready service on the small archive."""
    service = start_service(command=request.param, archive=str(archive_path))
    service.wait_for("/api/health/ready")
    return service


def post(service: Service, body: Any) -> httpx.Response:
    """Send a prediction request: bytes as they are, anything else as JSON, NaN and infinities included."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return httpx.post(service.address + PREDICTION, content=content, headers=headers, timeout=30)


def test_golden_loans_are_answered_with_their_probabilities(service: Service, archive_path: Path) -> None:
    """Over HTTP a loan gets the trained model's probability, to the last bit, and the decision it means."""
    for golden in archive.read(archive_path).golden:
        answer = post(service, golden.loan.model_dump(mode="json"))
        assert answer.status_code == 200
        expected = "risky" if golden.risk_probability >= 0.3 else "safe"
        found = answer.json()
        assert (found["credit_risk"], found["risk_probability"]) == (expected, golden.risk_probability)
        assert ("instalments_due_missing" in found["cautions"]) == (golden.loan.instalments_due is None)


def test_health_endpoints_tell_that_the_service_runs(service: Service) -> None:
    """Health, readiness and startup answer 200 with their states."""
    found = {path: service.get(f"/api/health{path}") for path in ("", "/ready", "/startup")}
    assert {path: (status, json.loads(body)) for path, (status, body) in found.items()} == {
        "": (200, {"health_status": "HEALTHY"}),
        "/ready": (200, {"readiness_status": "ACCEPTING_TRAFFIC"}),
        "/startup": (200, {"startup_status": "STARTED"}),
    }


def test_metadata_describes_the_model(service: Service) -> None:
    """The model's metadata gives its names, the package's version and both schemas."""
    status, body = service.get("/api/models/credit_risk_model/metadata")
    metadata = json.loads(body)
    assert (status, metadata["display_name"], metadata["version"]) == (200, "Credit Risk Model", __version__)
    assert list(metadata["input_schema"]["properties"]) == list(EXAMPLE_LOAN)
    assert list(metadata["output_schema"]["properties"]) == ["credit_risk", "risk_probability", "cautions"]


def test_metadata_tells_the_archive(start_service: Callable[..., Service], archive_path: Path) -> None:
    """Which archive answers, since when, from which probability on a loan is risky, and what the models have seen."""
    service = start_service(archive=str(archive_path))
    service.wait_for("/api/health/ready")
    found = json.loads(service.get("/api/models/credit_risk_model/metadata")[1])["archive"]
    metadata = archive.read(archive_path).metadata
    assert found == {
        "version": "test",
        "sha256": archive.sha256(archive_path.read_bytes()),
        "created_at": metadata.created_at,
        "cut_off": metadata.cut_off,
        "training_ranges": {
            name: [feature.model_dump(mode="json") for feature in record.features]
            for name, record in metadata.models.items()
        },
    }


def test_request_of_the_16_former_fields_is_answered(service: Service) -> None:
    """A request without `instalments_due` stays valid, and its answer says what that means."""
    loan = {name: value for name, value in EXAMPLE_LOAN.items() if name != "instalments_due"}
    answer = post(service, loan)
    assert answer.status_code == 200
    assert answer.json()["cautions"] == ["instalments_due_missing"]


def test_more_instalments_than_the_term_has_are_refused(service: Service) -> None:
    """The error names the field and the term's number of instalments."""
    answer = post(service, {**EXAMPLE_LOAN, "instalments_due": 37})
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "type": "ValidationError",
            "messages": [
                "Field 'body, instalments_due' has error 'less_than_equal', Input should be less than or equal to 36."
            ],
        },
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"annual_income": "a lot"}, "annual_income", id="wrong type"),
        pytest.param({"annual_income": 273001}, "annual_income", id="out of bounds"),
        pytest.param({"interest_rate": 5.31}, "interest_rate", id="out of lower bound"),
        pytest.param({"term": "36 months"}, "term", id="unknown level"),
        pytest.param({"grade": "A"}, "grade", id="unknown field"),
        pytest.param({"debt_to_income_ratio": math.nan}, "debt_to_income_ratio", id="NaN"),
        pytest.param({"last_payment_amount": math.inf}, "last_payment_amount", id="Infinity"),
        pytest.param({"loan_amount": None}, "loan_amount", id="null"),
    ],
)
def test_bad_field_is_a_400_that_names_it(service: Service, change: dict[str, Any], named: str) -> None:
    """A loan that violates the contract in one field gets one message, with the field's name."""
    answer = post(service, {**EXAMPLE_LOAN, **change})
    assert answer.status_code == 400
    (message,) = answer.json()["messages"]
    assert answer.json()["type"] == "ValidationError"
    assert f"'body, {named}'" in message


SPELLED_OTHERWISE = {
    "term": "36",
    "home_ownership": "rent",
    "employment_length": "10+ yrs",
    "loan_purpose": "Debt Consolidation",
    "verification_status": "VERIFIED",
}
"""Texts that files may have for a level."""


@pytest.mark.parametrize("feature", [each for each in CONTRACT_FEATURES if each.levels], ids=lambda each: each.name)
def test_level_that_is_spelled_otherwise_is_told_all_that_are_allowed(service: Service, feature: Feature) -> None:
    """What a file may have for a level is refused, and the message quotes each level with its spaces."""
    quoted = [f"'{level}'" for level in feature.levels]
    answer = post(service, {**EXAMPLE_LOAN, feature.name: SPELLED_OTHERWISE[feature.name]})
    told = f"Input should be {', '.join(quoted[:-1])} or {quoted[-1]}."
    assert (answer.status_code, answer.json()) == (
        400,
        {"type": "ValidationError", "messages": [f"Field 'body, {feature.name}' has error 'enum', {told}"]},
    )


def test_missing_fields_are_a_400_that_names_each(service: Service) -> None:
    """An empty object lacks all 16 fields that must be there."""
    answer = post(service, {})
    assert answer.status_code == 400
    messages = answer.json()["messages"]
    assert len(messages) == 16
    assert all(f"'body, {field}'" in message for field, message in zip(EXAMPLE_LOAN, messages, strict=False))


@pytest.mark.parametrize("body", [b"", [], [EXAMPLE_LOAN], "loan", 5, None], ids=repr)
def test_body_that_is_no_object_is_a_400(service: Service, body: Any) -> None:
    """An empty body, a list, a string, a number and null are no loan."""
    answer = post(service, body)
    assert (answer.status_code, answer.json()["type"]) == (400, "ValidationError")
    assert all("'body'" in message for message in answer.json()["messages"])


def test_loan_at_all_maxima_is_answered(start_service: Callable[..., Service]) -> None:
    """The shipped archive serves the loan that holds every bound's maximum, from the configuration as it ships."""
    service = start_service(**yaml.safe_load(CONFIGURATION.read_text())["models"][0]["configuration"])
    service.wait_for("/api/health/ready")
    answer = post(service, ALL_MAXIMA)
    assert answer.status_code == 200
    assert set(answer.json()) == {"credit_risk", "risk_probability", "cautions"}


def test_cut_off_of_the_configuration_decides(start_service: Callable[..., Service], archive_path: Path) -> None:
    """The YAML's cut-off overrides the archive's."""
    golden = next(golden for golden in archive.read(archive_path).golden if golden.risk_probability < 0.3)
    cut_off = golden.risk_probability / 2
    service = start_service(archive=str(archive_path), cut_off=cut_off)
    service.wait_for("/api/health/ready")
    assert cut_off < golden.risk_probability < 0.3
    assert post(service, golden.loan.model_dump(mode="json")).json()["credit_risk"] == "risky"


@pytest.mark.parametrize("fault", ["damaged", "missing"])
def test_refused_archive_is_never_ready(
    fault: str, start_service: Callable[..., Service], archive_path: Path, tmp_path: Path
) -> None:
    """With a damaged or missing archive the process stays up, unready and unhealthy, and one log line says why."""
    path = tmp_path / "1.zip"
    if fault == "damaged":
        content = bytearray(archive_path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    service = start_service(archive=str(path))
    service.wait_for("/api/health", status=503)
    assert service.get("/api/health/ready")[0] == 503
    assert service.process.poll() is None
    lines = [
        line for line in service.log.read_text().splitlines() if "The model credit_risk_model is not loaded" in line
    ]
    assert len(lines) == 1
    assert "1.zip: " in lines[0]


def test_version_is_the_same_everywhere() -> None:
    """The configuration's version is the package's."""
    assert yaml.safe_load((ROOT / "configuration" / "rest_configuration.yaml").read_text())["version"] == __version__
