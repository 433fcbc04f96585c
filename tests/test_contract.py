import itertools
import json
import math
import re
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from credit_risk_model import contract
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.features import CONTRACT_FEATURES, FEATURE_SETS
from credit_risk_model.schemas import CreditRiskBatchInput, CreditRiskExplanationInput, CreditRiskModelInput

WIDER: dict[str, contract.Bounds] = {
    "annual_income": (1, 9_500_001),
    "debt_to_income_ratio": (0, 999.0),
    "interest_rate": (5.31, 30.99),
    "loan_amount": (500.0, 40_000.0),
}
FIELDS = {field.name: field for field in CONTRACT_FEATURES}
REQUESTS: list[type[BaseModel]] = [CreditRiskModelInput, CreditRiskExplanationInput, CreditRiskBatchInput]


@pytest.fixture(scope="module")
def wide() -> contract.Contract:
    """The contract with four fields widened."""
    return contract._widen.__wrapped__(tuple(sorted(WIDER.items())))


def accepts(request: type[BaseModel], body: dict[str, Any]) -> bool:
    """Whether a request is valid."""
    try:
        request.model_validate(body)
    except ValidationError:
        return False
    return True


def schema_of(request: type[BaseModel]) -> str:
    """A request's JSON Schema as text."""
    return json.dumps(request.model_json_schema())


@pytest.mark.parametrize("shipped", REQUESTS, ids=lambda shipped: shipped.__name__)
def test_schema_of_a_widened_request_differs_in_its_bounds_alone(
    shipped: type[BaseModel], wide: contract.Contract
) -> None:
    """Names, descriptions, types, nulls and examples are the shipped ones; only the numbers of four fields differ."""
    text = schema_of(shipped)
    changes = {
        '"maximum": 273000, "minimum": 1896': '"maximum": 9500001, "minimum": 1',
        '"maximum": 42.64, "minimum": 0': '"maximum": 999.0, "minimum": 0',
        '"maximum": 28.99, "minimum": 5.32': '"maximum": 30.99, "minimum": 5.31',
        '"maximum": 35000, "minimum": 500': '"maximum": 40000, "minimum": 500',
    }
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    assert json.loads(schema_of(wide.request_for(shipped))) == json.loads(text)


@pytest.mark.parametrize("shipped", REQUESTS, ids=lambda shipped: shipped.__name__)
def test_request_is_told_by_its_name_and_module(shipped: type[BaseModel], wide: contract.Contract) -> None:
    """A widened request is a kind of the shipped one, with its name and words, in a module of its own."""
    request = wide.request_for(shipped)
    assert request is not shipped
    assert issubclass(request, shipped)
    assert (request.__name__, request.__doc__) == (shipped.__name__, shipped.__doc__)
    assert request.__module__ == "credit_risk_model.contract"


def test_request_of_no_loan_is_what_it_is(wide: contract.Contract) -> None:
    """What holds no loan has nothing to widen."""
    assert wide.request_for(BaseModel) is BaseModel
    assert all(contract.SHIPPED.request_for(shipped) is shipped for shipped in REQUESTS)


@pytest.mark.parametrize("name", WIDER)
def test_loan_is_valid_up_to_the_wider_bounds(name: str, wide: contract.Contract) -> None:
    """Both ends are allowed, the next number beyond either is not; a request of many loans is checked alike."""
    ends = FIELDS[name].bounds
    assert ends is not None
    for end, shipped_end, beyond in zip(WIDER[name], ends, (-math.inf, math.inf), strict=True):
        value = int(end) if FIELDS[name].whole else end
        step = int(math.copysign(1, beyond)) + value if FIELDS[name].whole else math.nextafter(end, beyond)
        loan = EXAMPLE_LOAN | {name: value}
        assert accepts(wide.loan, loan)
        assert accepts(wide.explanation, loan)
        assert accepts(wide.batch, {"loans": [EXAMPLE_LOAN, loan]})
        assert accepts(CreditRiskModelInput, loan) == (end == shipped_end)
        assert not accepts(wide.loan, loan | {name: step})
        assert not accepts(wide.explanation, loan | {name: step})
        assert not accepts(wide.batch, {"loans": [EXAMPLE_LOAN, loan | {name: step}]})


def test_fields_that_may_be_null_may_be_so_when_widened(wide: contract.Contract) -> None:
    """Other bounds make no field needed, and no loan older than its term valid."""
    assert accepts(wide.loan, EXAMPLE_LOAN | {"debt_to_income_ratio": None})
    assert not accepts(wide.loan, EXAMPLE_LOAN | {"interest_rate": None})
    assert not accepts(wide.loan, EXAMPLE_LOAN | {"instalments_due": 37})
    assert not accepts(wide.batch, {"loans": []})
    assert not accepts(wide.loan, EXAMPLE_LOAN | {"surprise": 1})


def test_contract_says_what_was_widened(wide: contract.Contract) -> None:
    """The widened bounds are recorded as the field's own kind of number, and the others are the shipped ones."""
    kinds = {name: [type(end) for end in ends] for name, ends in wide.widened.items()}
    assert wide.widened == WIDER
    assert kinds == {
        "annual_income": [int, int],
        "debt_to_income_ratio": [int, float],
        "interest_rate": [float, float],
        "loan_amount": [int, int],
    }
    assert wide.bounds == contract.SHIPPED.bounds | WIDER
    assert [field.name for field in wide.fields] == list(FIELDS)
    assert contract.SHIPPED.bounds == {name: field.bounds for name, field in FIELDS.items() if not field.levels}


def test_shipped_bounds_are_within_the_widest() -> None:
    """Amount and rate, which are divided by, stay above 0; nothing is below 0 or beyond 10**9."""
    widest = {name: contract.widest_bounds(name) for name in FIELDS}
    assert widest.pop("interest_rate") == (0.01, 1000)
    assert widest.pop("loan_amount") == (1, 1e9)
    assert set(widest.values()) == {(0, 1e9)}


def test_only_numbers_but_the_age_may_be_widened() -> None:
    """Levels have no bounds, and the instalments due are bounded by the term."""
    fixed = {name for name, field in FIELDS.items() if not contract.may_be_widened(field)}
    assert fixed == {name for name, field in FIELDS.items() if field.levels} | {"instalments_due"}


def test_any_field_may_be_as_wide_as_the_widest() -> None:
    """The widest bounds themselves are allowed, and so are the shipped ones."""
    widest = {name: contract.widest_bounds(name) for name, field in FIELDS.items() if contract.may_be_widened(field)}
    assert contract._widen.__wrapped__(tuple(widest.items())).bounds == contract.SHIPPED.bounds | widest
    same = {name: contract.SHIPPED.bounds[name] for name in widest}
    assert contract.widen(same).bounds == contract.SHIPPED.bounds
    assert contract.widen({}) is contract.SHIPPED


def test_order_of_the_fields_makes_no_other_contract() -> None:
    """The same bounds in another order are the same contract, whose classes are made once."""
    assert contract.widen(WIDER) is contract.widen(dict(reversed(WIDER.items())))


@pytest.mark.parametrize(
    ("name", "ends", "words"),
    [
        ("loan_amount", (500, 30000), "500 to 30000 is narrower than the contract's 500 to 35000"),
        ("loan_amount", (501, 35000), "501 to 35000 is narrower than the contract's 500 to 35000"),
        ("interest_rate", (5.32, 28.9899), "5.32 to 28.9899 is narrower than the contract's 5.32 to 28.99"),
        ("loan_amount", (0, 40000), "0 to 40000 is beyond 1 to 1000000000"),
        ("interest_rate", (5.32, 1000.5), "5.32 to 1000.5 is beyond 0.01 to 1000"),
        ("annual_income", (-1, 273000), "-1 to 273000 is beyond 0 to 1000000000"),
        ("annual_income", (0, 300000.5), "0 to 300000.5 are not whole numbers"),
        ("annual_income", (0.5, 300000), "0.5 to 300000 are not whole numbers"),
        ("annual_income", (0, 1.1234567891234e300), "0 to 1.123456789e+300 is beyond 0 to 1000000000"),
    ],
)
def test_bounds_that_can_not_be_are_named(name: str, ends: contract.Bounds, words: str) -> None:
    """The error names the field, the bounds, and what they break."""
    with pytest.raises(ValueError, match=f"^{re.escape(f'{name}: {words}')}$"):
        contract.widen({name: ends})


@pytest.mark.parametrize("name", ["term", "instalments_due", "zip_code", "x" * 40])
def test_field_without_bounds_can_not_be_widened(name: str) -> None:
    """A level, the age and a field that there is not are refused by their name, of which 40 letters are enough."""
    with pytest.raises(ValueError, match=f"^{name} has no bounds that may be widened$"):
        contract.widen({"loan_amount": (500, 40000), name: (0, 99)})
    with pytest.raises(ValueError, match=f"^{'y' * 40} has"):
        contract.widen({"y" * 41: (0, 99)})


def test_loans_at_the_widest_bounds_can_be_computed() -> None:
    """However far an archive widens its bounds, the arithmetic of its loans neither overflows nor divides by 0."""
    names = [field.name for field in CONTRACT_FEATURES if contract.may_be_widened(field)]
    widest = contract.widen({name: contract.widest_bounds(name) for name in names})
    paid = ("loan_amount", "interest_rate", "last_payment_amount", "total_payments_to_date")
    for ends in itertools.product(*(widest.bounds[name] for name in paid)):
        for age in ({"term": " 36 months", "instalments_due": 36}, {"term": " 60 months", "instalments_due": 0}):
            loan = widest.loan.model_validate(EXAMPLE_LOAN | dict(zip(paid, ends, strict=True)) | age)
            for wanted in FEATURE_SETS:
                for feature, value in zip(wanted.features, wanted.encode_loan(loan), strict=True):
                    assert math.isfinite(value) or feature.name.endswith("_after_term")
