from typing import Any

import pytest

from credit_risk_model import features, reasons
from credit_risk_model.schemas import CreditRisk, CreditRiskModelInput


def values_of(loan: dict[str, Any]) -> dict[str, reasons.Value]:
    """A loan's features by name."""
    row = features.row(CreditRiskModelInput.model_validate(loan))
    return loan | dict(zip(features.LoanArithmetic._fields, row[len(features.CONTRACT_FEATURES) :], strict=True))


@pytest.mark.parametrize("direction", CreditRisk)
@pytest.mark.parametrize("feature", features.NAMES)
def test_every_feature_has_a_sentence_for_either_direction(
    feature: str, direction: CreditRisk, loan: dict[str, Any]
) -> None:
    """Whatever moves a score can be said in one sentence that says which way."""
    sentence = reasons.text(feature, direction, values_of(loan))
    assert sentence[0].isupper() or sentence[0].isdigit()
    assert sentence.count(". ") == 0
    assert sentence.endswith({"risky": "raises the risk.", "safe": "lowers the risk."}[direction])


def test_sentences_differ(loan: dict[str, Any]) -> None:
    """No two features share a sentence."""
    sentences = {reasons.text(feature, CreditRisk.risky, values_of(loan)) for feature in features.NAMES}
    assert len(sentences) == len(features.NAMES)


@pytest.mark.parametrize(
    ("feature", "level"),
    [(feature.name, level) for feature in features.CONTRACT_FEATURES for level in feature.levels],
)
def test_every_level_has_words_of_its_own(feature: str, level: str, loan: dict[str, Any]) -> None:
    """No level is written in capitals or with the signs of the data."""
    sentence = reasons.text(feature, CreditRisk.safe, values_of(loan | {feature: level}))
    assert not {"_", "<", "+", "  "} & set(sentence)
    assert not any(word.isupper() for word in sentence.split())


def test_texts_are_of_no_other_features() -> None:
    """The table has no sentence for what is no feature."""
    assert set(reasons._STATEMENTS) == set(features.NAMES)


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ("annual_income", "The annual income is $65,000, which raises the risk."),
        ("last_payment_amount", "The last payment was $407.23, which raises the risk."),
        ("interest_rate", "The loan's interest rate is 13.5 %, which raises the risk."),
        ("loan_purpose", "The loan's purpose is given as debt consolidation, which raises the risk."),
        ("verification_status", "The income was verified, which raises the risk."),
        (
            "payments_in_instalments",
            "Payments so far cover 36.0 instalments of a loan over 36 months, which raises the risk.",
        ),
        ("share_of_amount_repaid", "Payments so far come to 122 % of the loan amount, which raises the risk."),
    ],
)
def test_values_are_written_as_people_write_them(feature: str, expected: str, loan: dict[str, Any]) -> None:
    """Amounts, rates, shares and levels stand in a sentence as a borrower would read them."""
    assert reasons.text(feature, CreditRisk.risky, values_of(loan)) == expected
