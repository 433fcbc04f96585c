import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from processes import FRAMEWORK

from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import CreditRiskExplanationInput, CreditRiskModelInput

MODELS = ("explanation.CreditRiskExplanation", "batch.CreditRiskBatch")

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module", params=[("credit_risk_model.service",), FRAMEWORK], ids=["service", "framework"])
def ask(start_service: Callable[..., Any], request: pytest.FixtureRequest) -> Ask:
    """Post to a model of a service with all three, under the project's application and the framework's own."""
    service = start_service(
        command=request.param, more_models=tuple(f"credit_risk_model.prediction.{name}" for name in MODELS)
    )
    service.wait_for("/api/health/ready")

    def post(model: str, body: dict[str, Any]) -> tuple[int, Any]:
        answer = httpx.post(f"{service.address}/api/models/credit_risk_{model}/prediction", json=body, timeout=30)
        return answer.status_code, answer.json()

    return post


def test_explanation_is_the_models(ask: Ask, loan: dict[str, Any]) -> None:
    """The answer over HTTP is the model's own, to the last digit."""
    for wish in ({}, {"max_reasons": 99}):
        request = CreditRiskExplanationInput.model_validate(loan | wish)
        expected = CreditRiskExplanation().predict(request).model_dump_json()
        assert ask("explanation", loan | wish) == (200, json.loads(expected))


def test_batch_answers_what_single_requests_get(ask: Ask, loan: dict[str, Any]) -> None:
    """A thousand loans at once get what each gets alone, in order."""
    loans = [loan | {"total_payments_to_date": 14.0 * number} for number in range(1000)]
    model = CreditRiskModel()
    expected = [model.predict(CreditRiskModelInput.model_validate(one)).model_dump(mode="json") for one in loans]
    assert ask("batch", {"loans": loans}) == (200, {"predictions": expected})
    assert ask("model", loans[7]) == (200, expected[7])


def test_bad_loans_of_a_batch_are_named(start_service: Callable[..., Any], loan: dict[str, Any]) -> None:
    """One 400 names index and field of every bad loan, and nothing is scored."""
    service = start_service(more_models=("credit_risk_model.prediction.batch.CreditRiskBatch",))
    service.wait_for("/api/health/ready")
    loans = [loan, loan, loan, loan | {"term": "soon"}, loan | {"annual_income": 5}]
    answer = httpx.post(f"{service.address}/api/models/credit_risk_batch/prediction", json={"loans": loans}, timeout=30)
    assert answer.status_code == 400
    assert answer.json() == {
        "type": "ValidationError",
        "messages": [
            "Field 'body, loans, 3, term' has error 'enum', Input should be ' 36 months' or ' 60 months'.",
            "Field 'body, loans, 4, annual_income' has error 'greater_than_equal', Input should be greater than or "
            "equal to 1896.",
        ],
    }
