import math
from typing import Any

import pytest

from credit_risk_model import features, reasons
from credit_risk_model.schemas import CreditRisk, CreditRiskModelInput

NAMES = sorted({name for wanted in features.FEATURE_SETS for name in wanted.names})


def values_of(loan: dict[str, Any]) -> dict[str, reasons.Value | None]:
    """A loan's features by name, those of both sets."""
    request = CreditRiskModelInput.model_validate(loan)
    derived: dict[str, reasons.Value | None] = {}
    for wanted in features.FEATURE_SETS:
        for name, value in zip(wanted.names, wanted.encode_loan(request), strict=True):
            derived[name] = None if math.isnan(value) else value
    return derived | loan


@pytest.fixture
def past_term(loan: dict[str, Any]) -> dict[str, Any]:
    """A loan past its term with half an instalment unpaid: every feature has a value."""
    return loan | {"instalments_due": 36, "total_payments_to_date": 14456.43}


@pytest.mark.parametrize("direction", CreditRisk)
@pytest.mark.parametrize("feature", NAMES)
def test_every_feature_has_a_sentence_for_either_direction(
    feature: str, direction: CreditRisk, past_term: dict[str, Any]
) -> None:
    """Whatever moves a score can be said in one sentence that says which way."""
    sentence = reasons.text(feature, direction, values_of(past_term))
    assert sentence[0].isupper() or sentence[0].isdigit()
    assert sentence.count(". ") == 0
    assert sentence.endswith({"risky": "raises the risk.", "safe": "lowers the risk."}[direction])


@pytest.mark.parametrize("wanted", features.FEATURE_SETS, ids=lambda wanted: wanted.name)
def test_sentences_differ(wanted: features.FeatureSet, past_term: dict[str, Any]) -> None:
    """No two features of a model share a sentence."""
    sentences = {reasons.text(name, CreditRisk.RISKY, values_of(past_term)) for name in wanted.names}
    assert len(sentences) == len(wanted.names)


@pytest.mark.parametrize(
    ("feature", "level"),
    [(feature.name, level) for feature in features.CONTRACT_FEATURES for level in feature.levels],
)
def test_every_level_has_words_of_its_own(feature: str, level: str, loan: dict[str, Any]) -> None:
    """No level is written in capitals or with the signs of the data."""
    sentence = reasons.text(feature, CreditRisk.SAFE, values_of(loan | {feature: level}))
    assert not [sign for sign in ("_", "<", "+", "  ") if sign in sentence]
    assert not any(word.isupper() for word in sentence.split())


def test_texts_are_of_no_other_features() -> None:
    """The table has no sentence for what is no feature of a model."""
    assert sorted(reasons._STATEMENTS) == NAMES
    nullable = {feature.name for feature in features.CONTRACT_FEATURES if feature.nullable} - {features.AGE}
    after_term = {name for name in NAMES if name.endswith("_after_term")}
    assert set(reasons._WITHOUT_VALUE) == nullable | after_term


@pytest.mark.parametrize("feature", sorted(reasons._WITHOUT_VALUE))
def test_missing_value_has_words_of_its_own(feature: str, loan: dict[str, Any]) -> None:
    """What is not known, or does not apply before the term is over, is said so."""
    nulls = dict.fromkeys(("debt_to_income_ratio", "employment_length", "revolving_line_utilization_rate"))
    sentence = reasons.text(feature, CreditRisk.RISKY, values_of(loan | nulls))
    assert "not" in sentence
    assert "None" not in sentence


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ("annual_income", "The annual income is $65,000"),
        ("last_payment_amount", "The last payment was $407.23"),
        ("interest_rate", "The loan's interest rate is 13.5 %"),
        ("loan_purpose", "The stated purpose of the loan is debt consolidation"),
        ("verification_status", "The income was verified"),
        ("payments_in_instalments", "Payments so far cover 13.0 instalments"),
        ("arrears_in_instalments", "Payments are 2.0 instalments behind schedule"),
        ("arrears_before_last_payment", "Before the last payment, payments were 3.0 instalments behind schedule"),
        ("share_of_due_paid", "Payments so far cover 87 % of the instalments due"),
        ("share_of_amount_repaid", "Payments so far are 44 % of the loan amount"),
        ("rounded_last_payment_in_instalments", "The last payment was 1 instalment"),
        ("partial_instalment", "Payments so far are equal to a whole number of instalments"),
    ],
)
def test_values_are_written_as_people_write_them(feature: str, expected: str, loan: dict[str, Any]) -> None:
    """Amounts, rates, shares and levels stand in a sentence as a borrower would read them."""
    assert reasons.text(feature, CreditRisk.RISKY, values_of(loan)) == f"{expected}, which raises the risk."


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (0.0, "on schedule"),
        (0.04, "on schedule"),
        (-1.0, "1 instalment ahead of schedule"),
        (2.1, "2.1 instalments behind schedule"),
    ],
)
def test_payments_are_behind_on_or_ahead_of_schedule(missing: float, expected: str) -> None:
    """The sign of the arrears is a word, and next to nothing is nothing."""
    sentence = reasons.text("arrears_in_instalments", CreditRisk.SAFE, {"arrears_in_instalments": missing})
    assert sentence == f"Payments are {expected}, which lowers the risk."


@pytest.mark.parametrize(
    ("part", "expected"), [(0.994, "99 % of an instalment above"), (0.996, "equal to"), (0.004, "equal to")]
)
def test_hair_below_an_instalment_is_a_whole_one(part: float, expected: str) -> None:
    """A cent that rounding took from an instalment is not told as 99 % of one."""
    sentence = reasons.text("partial_instalment", CreditRisk.SAFE, {"partial_instalment": part})
    assert sentence == f"Payments so far are {expected} a whole number of instalments, which lowers the risk."
