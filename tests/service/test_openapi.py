import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from conftest import CONFIGURATION, ROOT, rounded
from processes import Service

from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.service.openapi import document
from credit_risk_model.service.settings import Configuration

MODELS = ("credit_risk_model", "credit_risk_explanation", "credit_risk_batch")
ERROR = {"$ref": "#/components/schemas/Error"}


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    """The committed contract."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "service_contract.yaml").read_text())
    return content


def operations(contract: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Each operation, by method and path."""
    return {
        (method, path): operation
        for path, methods in contract["paths"].items()
        for method, operation in methods.items()
    }


def test_committed_contract_is_the_written_one(tmp_path: Path) -> None:
    """service_contract.yaml is what the command writes for the configuration, byte for byte."""
    written = tmp_path / "contract.yaml"
    command = [sys.executable, "-m", "credit_risk_model.service.openapi", "--output", str(written)]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "REST_CONFIG": str(CONFIGURATION)})
    assert (ROOT / "service_contract.yaml").read_text() == written.read_text(), "Run `make contract`."


def test_committed_contract_is_the_served_one(shipped: Service, contract: dict[str, Any]) -> None:
    """The running service's document is service_contract.yaml."""
    assert httpx.get(f"{shipped.address}/openapi.json").json() == contract


def test_document_is_whole_from_the_first_second(start_service: Callable[..., Service], archive_path: Path) -> None:
    """While a model still loads, its prediction is described, as it is once it has loaded."""
    service = start_service(more_models=("models_for_tests.LateModel",), archive=str(archive_path))
    service.wait_for("/api/health")
    early = httpx.get(f"{service.address}/openapi.json").json()
    assert service.get("/api/health/ready")[0] == 503
    assert "/api/models/late/prediction" in early["paths"]
    service.wait_for("/api/health/ready")
    assert httpx.get(f"{service.address}/openapi.json").json() == early


def test_document_has_all_that_is_served(shipped: Service, contract: dict[str, Any]) -> None:
    """Every model that the service names has its prediction in the contract, and no other has."""
    served = {model["qualified_name"] for model in httpx.get(f"{shipped.address}/api/models").json()["models"]}
    predictions = {path.split("/")[3] for method, path in operations(contract) if method == "post"}
    assert predictions == served == set(MODELS)


def test_contract_describes_the_prediction(contract: dict[str, Any]) -> None:
    """The contract holds the prediction with its input, its answer and a field's description and bounds."""
    prediction = contract["paths"]["/api/models/credit_risk_model/prediction"]["post"]
    body = prediction["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    answer = prediction["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert (body, answer) == ("#/components/schemas/CreditRiskModelInput", "#/components/schemas/CreditRiskModelOutput")
    amount = contract["components"]["schemas"]["CreditRiskModelInput"]["properties"]["loan_amount"]
    assert amount == {
        "type": "integer",
        "minimum": 500,
        "maximum": 35000,
        "title": "Loan Amount",
        "description": "Loan amount, in whole US dollars.",
    }


def test_contract_has_the_true_statuses(contract: dict[str, Any]) -> None:
    """Each operation lists the statuses that it answers: a 400 for what is invalid, no 422."""
    prediction = ["200", "400", "408", "413", "415", "500", "503"]
    statuses = {path: list(operation["responses"]) for (_, path), operation in operations(contract).items()}
    assert statuses == {
        **{f"/api/models/{name}/prediction": prediction for name in MODELS},
        "/": ["307"],
        "/api/health": ["200", "503"],
        "/api/health/ready": ["200", "503"],
        "/api/health/startup": ["200", "503"],
        "/api/models": ["200", "500"],
        "/api/models/{model_qualified_name}/metadata": ["200", "404", "500", "503"],
    }
    assert "HTTPValidationError" not in contract["components"]["schemas"]


def test_errors_have_the_one_shape(contract: dict[str, Any]) -> None:
    """Each error but an unhealthy probe's is `Error`; a prediction's 503 says when to come back."""
    for (_, path), operation in operations(contract).items():
        for status, response in operation["responses"].items():
            if int(status) >= 400 and "/health" not in path:
                assert response["content"]["application/json"]["schema"] == ERROR, (path, status)
                assert ("Retry-After" in response["headers"]) == (status == "503"), (path, status)


def test_errors_of_predictions_have_worked_examples(shipped: Service, contract: dict[str, Any]) -> None:
    """Each error of a prediction has an example; those that can be had are what the service answers."""
    path = "/api/models/credit_risk_model/prediction"
    responses = contract["paths"][path]["post"]["responses"]
    examples = {
        status: response["content"]["application/json"]["example"]
        for status, response in responses.items()
        if status != "200"
    }
    assert all(list(example) == ["type", "messages"] for example in examples.values())
    loan = json.dumps(EXAMPLE_LOAN)
    requests: dict[str, dict[str, Any]] = {
        "400": {"content": loan.replace(" 36 months", "36 months"), "headers": {"Content-Type": "application/json"}},
        "413": {"content": loan + " " * 65_536, "headers": {"Content-Type": "application/json"}},
        "415": {"content": loan, "headers": {"Content-Type": "text/plain"}},
    }
    for status, request in requests.items():
        answer = httpx.post(shipped.address + path, **request)
        assert (str(answer.status_code), answer.json()) == (status, examples[status])


def test_contract_says_what_risky_means(contract: dict[str, Any]) -> None:
    """The first words of the contract define the decision, and every field that is a percent says so."""
    described = contract["info"]["description"]
    assert "charged off, in default, or 16 days late or more" in described
    assert "A prediction changes nothing" in described
    fields = contract["components"]["schemas"]["CreditRiskModelInput"]["properties"]
    for field in ("interest_rate", "debt_to_income_ratio", "revolving_line_utilization_rate"):
        assert "percent" in fields[field]["description"]
        assert " %" in fields[field]["description"]


def test_error_is_what_the_service_answers(shipped: Service, contract: dict[str, Any]) -> None:
    """A refused request's answer has the fields of `Error`, and no others."""
    answer = httpx.post(f"{shipped.address}/api/models/credit_risk_model/prediction", json={})
    assert list(contract["components"]["schemas"]["Error"]["properties"]) == ["type", "messages"]
    assert list(answer.json()) == ["type", "messages"]


@pytest.mark.parametrize("model", MODELS)
def test_example_works_as_sent(model: str, shipped: Service, contract: dict[str, Any]) -> None:
    """The example of each request gets the answer that stands beside it."""
    path = f"/api/models/{model}/prediction"
    content = contract["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    schemas = contract["components"]["schemas"]
    (example,) = schemas[content["schema"]["$ref"].split("/")[-1]]["examples"]
    answered = contract["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    (expected,) = schemas[answered.split("/")[-1]]["examples"]
    answer = httpx.post(shipped.address + path, json=example)
    assert (answer.status_code, rounded(answer.json())) == (200, rounded(expected))


def test_models_are_described_by_properties_and_decorators_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that tells its names by properties is described unloaded, with what its decorators change."""
    monkeypatch.syspath_prepend(ROOT / "tests" / "service")
    model = {
        "class_path": "models_for_tests.FormalModel",
        "create_endpoint": True,
        "decorators": [{"class_path": "models_for_tests.Doubling"}],
    }
    made = document(Configuration.model_validate({"models": [model]}))
    responses = made["paths"]["/api/models/formal/prediction"]["post"]["responses"]
    assert responses["200"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Twice"}


def test_model_without_endpoint_has_none_in_the_document() -> None:
    """A model that serves others only is not described."""
    content = yaml.safe_load(CONFIGURATION.read_text())
    content["models"][1]["create_endpoint"] = False
    paths = document(Configuration.model_validate(content))["paths"]
    assert "/api/models/credit_risk_model/prediction" in paths
    assert "/api/models/credit_risk_explanation/prediction" not in paths


def test_reference_is_described_where_decisions_are_logged(contract: dict[str, Any]) -> None:
    """Who logs decisions is told how to name one; elsewhere the header means nothing, and is not described."""
    content = yaml.safe_load(CONFIGURATION.read_text())
    content["service"]["decisions"] = {"file": "decisions.jsonl", "key_file": "key"}
    made = document(Configuration.model_validate(content))
    (described,) = made["paths"]["/api/models/credit_risk_model/prediction"]["post"]["parameters"]
    assert (described["name"], described["required"]) == ("X-Decision-Reference", False)
    assert "parameters" not in contract["paths"]["/api/models/credit_risk_model/prediction"]["post"]


def test_framework_still_writes_its_own_document(tmp_path: Path) -> None:
    """generate_openapi, which knows nothing of what stands before the framework, works with the same YAML."""
    written = tmp_path / "openapi.yaml"
    command = [
        str(Path(sys.executable).with_name("generate_openapi")),
        f"--configuration_file={CONFIGURATION.relative_to(ROOT)}",
        f"--output_file={written}",
    ]
    subprocess.run(command, check=True, cwd=ROOT)
    assert json.dumps(yaml.safe_load(written.read_text())["paths"]).count("/prediction") == len(MODELS)
