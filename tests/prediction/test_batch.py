from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic_core import to_json

from credit_risk_model import archive
from credit_risk_model.prediction.batch import CreditRiskBatch
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import CreditRiskBatchInput, CreditRiskModelInput


@pytest.fixture(scope="module")
def model(archive_path: Path) -> CreditRiskBatch:
    """The batch model on the small archive."""
    return CreditRiskBatch(archive=str(archive_path))


@pytest.fixture(scope="module")
def golden(archive_path: Path) -> list[CreditRiskModelInput]:
    """Made-up loans of all kinds."""
    return [example.loan for example in archive.read(archive_path).golden]


def test_answers_are_the_models_in_order(
    model: CreditRiskBatch, golden: list[CreditRiskModelInput], archive_path: Path
) -> None:
    """Each loan of a batch gets, bit for bit, what it gets alone, in its place."""
    plain = CreditRiskModel(archive=str(archive_path))
    loans = (golden * 21)[:1000]
    answer = model.predict(CreditRiskBatchInput(loans=tuple(loans)))
    assert list(answer.predictions) == [plain.predict(loan) for loan in loans]
    assert len({prediction.risk_probability for prediction in answer.predictions}) > 20


def test_one_loan_is_a_batch(model: CreditRiskBatch, loan: dict[str, Any]) -> None:
    """The smallest batch has one loan; the answer is a list all the same."""
    answer = model.predict(CreditRiskBatchInput.model_validate({"loans": [loan]})).model_dump(mode="json")
    (prediction,) = answer["predictions"]
    assert set(prediction) == {"credit_risk", "risk_probability", "cautions"}


def test_cut_off_decides(archive_path: Path, loan: dict[str, Any]) -> None:
    """A batch decides by the cut-off of its own configuration."""
    request = CreditRiskBatchInput.model_validate({"loans": [loan]})
    for cut_off, decision in ((1e-9, "risky"), (1 - 1e-9, "safe")):
        (prediction,) = CreditRiskBatch(archive=str(archive_path), cut_off=cut_off).predict(request).predictions
        assert prediction.credit_risk.value == decision


@pytest.mark.parametrize(("count", "words"), [(0, "at least 1 item"), (1001, "at most 1000 items")])
def test_size_is_bounded(count: int, words: str, loan: dict[str, Any]) -> None:
    """A batch holds 1 to 1,000 loans."""
    with pytest.raises(ValidationError, match=words):
        CreditRiskBatchInput.model_validate({"loans": [loan] * count})


def test_bad_loan_is_not_also_one_too_few() -> None:
    """A list of one bad loan has that one fault, and is not too short besides."""
    with pytest.raises(ValidationError) as refused:
        CreditRiskBatchInput.model_validate_json(to_json({"loans": [1]}))
    assert [error["type"] for error in refused.value.errors()] == ["model_type"]


def test_every_bad_loan_is_named(loan: dict[str, Any]) -> None:
    """The error names index and field of every loan that violates the contract, not only of the first."""
    loans = [loan] * 3 + [loan | {"term": "36"}, loan, loan | {"annual_income": 1, "colour": "red"}]
    with pytest.raises(ValidationError) as refused:
        CreditRiskBatchInput.model_validate({"loans": loans})
    assert [error["loc"] for error in refused.value.errors()] == [
        ("loans", 3, "term"),
        ("loans", 5, "annual_income"),
        ("loans", 5, "colour"),
    ]


@pytest.mark.parametrize("body", [[], {}, {"loans": {}}, {"loans": None}, {"loans": [[]]}, {"loans": [], "more": 1}])
def test_other_bodies_are_refused(body: Any) -> None:
    """Nothing but an object with a list of loans is a batch."""
    with pytest.raises(ValidationError):
        CreditRiskBatchInput.model_validate(body)
