import json
from typing import Any

import pytest
from conftest import ALL_MAXIMA
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.schemas import (
    CreditRiskModelInput,
    CreditRiskModelOutput,
    EmploymentLength,
    HomeOwnership,
    LoanPurpose,
    Term,
    VerificationStatus,
)

NULLABLE = ("debt_to_income_ratio", "employment_length", "revolving_line_utilization_rate")
BOUNDS = {
    "annual_income": (1896, 273000),
    "collections_in_last_12_months": (0, 20),
    "delinquencies_in_last_2_years": (0, 39),
    "debt_to_income_ratio": (0, 42.64),
    "number_of_delinquent_accounts": (0, 6),
    "interest_rate": (5.32, 28.99),
    "last_payment_amount": (0, 36475.59),
    "loan_amount": (500, 35000),
    "derogatory_public_record_count": (0, 86),
    "revolving_line_utilization_rate": (0, 892.3),
    "total_payments_to_date": (0, 57777.58),
}
INTEGERS = (
    "annual_income",
    "collections_in_last_12_months",
    "delinquencies_in_last_2_years",
    "number_of_delinquent_accounts",
    "loan_amount",
    "derogatory_public_record_count",
)


def _validate_as_json(loan: Any) -> CreditRiskModelInput:
    return CreditRiskModelInput.model_validate_json(json.dumps(loan))


def errors_of(loan: Any) -> list[tuple[tuple[Any, ...], str]]:
    """Where and of which type the errors are, the same for Python objects and for JSON text."""
    found = []
    for validate in (CreditRiskModelInput.model_validate, _validate_as_json):
        with pytest.raises(ValidationError) as caught:
            validate(loan)
        found.append([(error["loc"], error["type"]) for error in caught.value.errors()])
    assert [loc for loc, _ in found[0]] == [loc for loc, _ in found[1]]
    return found[1]


def test_loan_at_all_maxima_is_accepted() -> None:
    """The loan with every bound's maximum is valid, and comes back as it was sent."""
    assert CreditRiskModelInput.model_validate(ALL_MAXIMA).model_dump(mode="json") == ALL_MAXIMA


def test_contract_has_the_17_fields_of_which_one_may_be_left_out() -> None:
    """The 17 fields stand in the contract; all but the instalments due must be in a request."""
    schema = CreditRiskModelInput.model_json_schema()
    assert list(schema["properties"]) == list(ALL_MAXIMA)
    assert schema["required"] == list(ALL_MAXIMA)[:-1]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("field", [*NULLABLE, "instalments_due"])
def test_what_may_be_unknown_may_be_null(field: str, loan: dict[str, Any]) -> None:
    """Null says that a value is not known; the JSON Schema says that it is allowed."""
    assert getattr(CreditRiskModelInput.model_validate({**loan, field: None}), field) is None
    assert {"type": "null"} in CreditRiskModelInput.model_json_schema()["properties"][field]["anyOf"]


def test_request_without_instalments_due_is_valid(loan: dict[str, Any]) -> None:
    """A request that was valid before the field came stays valid."""
    del loan["instalments_due"]
    assert CreditRiskModelInput.model_validate(loan).instalments_due is None


@pytest.mark.parametrize(("term", "months"), [(" 36 months", 36), (" 60 months", 60)])
def test_no_more_instalments_are_due_than_the_term_has(term: str, months: int, loan: dict[str, Any]) -> None:
    """0 and the term's number of instalments are valid, one more or a fraction is refused with the field's name."""
    loan["term"] = term
    for due in (0, months, float(months)):
        assert CreditRiskModelInput.model_validate({**loan, "instalments_due": due}).instalments_due == due
    assert errors_of({**loan, "instalments_due": months + 1}) == [(("instalments_due",), "less_than_equal")]
    assert errors_of({**loan, "instalments_due": -1}) == [(("instalments_due",), "greater_than_equal")]
    wrong: object
    for wrong in ("12", True, 1.5, [], float("nan")):
        assert [place for place, _ in errors_of({**loan, "instalments_due": wrong})] == [("instalments_due",)]


def test_instalments_of_a_loan_without_a_term_are_not_compared(loan: dict[str, Any]) -> None:
    """Where the term itself is wrong, that is the one error."""
    assert errors_of({**loan, "term": "soon", "instalments_due": 60}) == [(("term",), "enum")]


@pytest.mark.parametrize("field", BOUNDS)
def test_bounds_are_allowed_and_beyond_them_refused(field: str, loan: dict[str, Any]) -> None:
    """Both bounds of a number are valid; a step beyond either is refused with the field's name."""
    smallest, largest = BOUNDS[field]
    step = 1 if field in INTEGERS else 0.001
    for value in (smallest, largest):
        assert getattr(CreditRiskModelInput.model_validate({**loan, field: value}), field) == value
    assert errors_of({**loan, field: smallest - step}) == [((field,), "greater_than_equal")]
    assert errors_of({**loan, field: largest + step}) == [((field,), "less_than_equal")]


@pytest.mark.parametrize("field", INTEGERS)
def test_integers_are_described_as_integers(field: str) -> None:
    """The JSON Schema says integer with its bounds, not the number that it is validated as first."""
    described = CreditRiskModelInput.model_json_schema()["properties"][field]
    assert (described["type"], described["minimum"], described["maximum"]) == ("integer", *BOUNDS[field])


def test_whole_float_is_an_integer(loan: dict[str, Any]) -> None:
    """JSON has one kind of number: 65000.0 is a valid integer, and becomes one."""
    income = CreditRiskModelInput.model_validate({**loan, "annual_income": 65000.0}).annual_income
    assert (income, type(income)) == (65000, int)


@pytest.mark.parametrize("value", ["65000", True, None, [], {}, 65000.5, float("nan"), float("inf"), 10**400])
def test_what_is_no_integer_is_refused(value: Any, loan: dict[str, Any]) -> None:
    """Strings, booleans, null, containers, fractions, NaN, infinities and huge numbers are no annual income."""
    assert [location for location, _ in errors_of({**loan, "annual_income": value})] == [("annual_income",)]


@pytest.mark.parametrize("value", ["13.5", True, None, [], float("nan"), float("-inf")])
def test_what_is_no_number_is_refused(value: Any, loan: dict[str, Any]) -> None:
    """Strings, booleans, null, containers, NaN and infinities are no interest rate."""
    assert [location for location, _ in errors_of({**loan, "interest_rate": value})] == [("interest_rate",)]


@pytest.mark.parametrize(
    ("field", "levels", "unknown"),
    [
        ("employment_length", EmploymentLength, "10 years"),
        ("home_ownership", HomeOwnership, "OTHER"),
        ("loan_purpose", LoanPurpose, "yacht"),
        ("term", Term, "36 months"),
        ("verification_status", VerificationStatus, "verified"),
    ],
)
def test_only_the_levels_of_a_category_are_known(
    field: str, levels: type[Any], unknown: str, loan: dict[str, Any]
) -> None:
    """Each level is valid, anything else is refused with the field's name."""
    for level in levels:
        assert getattr(CreditRiskModelInput.model_validate({**loan, field: level.value}), field) is level
    assert errors_of({**loan, field: unknown}) == [((field,), "enum")]


def test_level_counts_are_those_of_the_contract() -> None:
    """11 employment lengths, 3 home ownerships, 14 purposes, 2 terms, 3 verification statuses."""
    levels = (EmploymentLength, HomeOwnership, LoanPurpose, Term, VerificationStatus)
    assert [len(level) for level in levels] == [11, 3, 14, 2, 3]


def test_code_of_a_level_is_its_place() -> None:
    """Codes count the levels of a class from 0 in the order in which they stand."""
    assert [level.code for level in EmploymentLength] == [float(place) for place in range(11)]
    assert (Term.THIRTY_SIX_MONTHS.code, Term.SIXTY_MONTHS.code) == (0.0, 1.0)


def test_missing_field_is_refused(loan: dict[str, Any]) -> None:
    """Without one of the fields that must be there, the error names it."""
    for field in list(ALL_MAXIMA)[:-1]:
        assert errors_of({name: value for name, value in loan.items() if name != field}) == [((field,), "missing")]


def test_unknown_field_is_refused(loan: dict[str, Any]) -> None:
    """A field that the contract does not know is an error that names it."""
    assert errors_of({**loan, "grade": "A"}) == [(("grade",), "extra_forbidden")]


def test_loan_can_not_be_changed(loan: dict[str, Any]) -> None:
    """A validated loan stays as it was validated."""
    with pytest.raises(ValidationError, match="frozen"):
        CreditRiskModelInput.model_validate(loan).loan_amount = 1  # type: ignore[misc]  # it is what must not work


@given(probability=st.floats(allow_nan=True))
def test_answer_holds_a_probability(probability: float) -> None:
    """The answer's probability lies in [0, 1]; anything else can't be answered."""
    answer = {"credit_risk": "safe", "risk_probability": probability, "cautions": []}
    if 0 <= probability <= 1:
        assert CreditRiskModelOutput.model_validate(answer).risk_probability == probability
    else:
        with pytest.raises(ValidationError, match="risk_probability"):
            CreditRiskModelOutput.model_validate(answer)


def test_every_field_names_its_column_and_meaning() -> None:
    """Each field that Kaggle's loan.csv has states its column, and all a description; no two share a column."""
    columns = [feature.column for feature in CONTRACT_FEATURES if feature.name != "instalments_due"]
    assert None not in columns
    assert len(set(columns)) == len(columns) == 16
    assert all(feature.description.endswith(".") for feature in CONTRACT_FEATURES)
