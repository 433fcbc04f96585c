"""A made-up loan and its responses: the examples of the contract, the docs and the tests."""

from typing import Any

EXAMPLE_LOAN: dict[str, Any] = {
    "annual_income": 65000,
    "collections_in_last_12_months": 0,
    "delinquencies_in_last_2_years": 0,
    "debt_to_income_ratio": 17.2,
    "employment_length": "5 years",
    "home_ownership": "RENT",
    "number_of_delinquent_accounts": 0,
    "interest_rate": 13.5,
    "last_payment_amount": 407.23,
    "loan_amount": 12000,
    "derogatory_public_record_count": 0,
    "loan_purpose": "debt_consolidation",
    "revolving_line_utilization_rate": 54.0,
    "term": " 36 months",
    "total_payments_to_date": 5293.9,
    "verification_status": "Verified",
    "instalments_due": 15,
}
"""A made-up loan for the contract, the README and the tests: 15 of 36 instalments were due, 13 are paid."""

EXAMPLE_ANSWER: dict[str, Any] = {"credit_risk": "risky", "risk_probability": 0.9089807773685268, "cautions": []}
"""Prediction of the shipped archive for the example, to the last bit."""

EXAMPLE_EXPLANATION: dict[str, Any] = {
    **EXAMPLE_ANSWER,
    "cut_off": 0.4275,
    "baseline_probability": 0.0029623836827969868,
    "reasons": [
        {
            "feature": "arrears_in_instalments",
            "fields": ["loan_amount", "interest_rate", "term", "total_payments_to_date", "instalments_due"],
            "value": 2.0,
            "contribution": 2.8934028377697203,
            "direction": "risky",
            "text": "Payments are 2.0 instalments behind schedule, which raises the risk.",
        },
        {
            "feature": "rounded_last_payment_in_instalments",
            "fields": ["loan_amount", "interest_rate", "term", "last_payment_amount"],
            "value": 1.0,
            "contribution": 0.7456752039417843,
            "direction": "risky",
            "text": "The last payment was 1 instalment, which raises the risk.",
        },
    ],
    "out_of_training_range": [],
}
"""Its explanation of the example with two reasons."""
