"""Reasons: one sentence for each feature's part in a decision, in words that a borrower understands.

Each sentence states a fact of the loan and which way it moved the score. It never calls a value high or low: the models
are not monotonic, so the opposite may hold for this loan.
"""

from collections.abc import Callable, Mapping

from credit_risk_model.schemas import CreditRisk

Value = int | float | str
_Statement = Callable[[Value], str]

_HOMES = {"RENT": "rented", "OWN": "owned", "MORTGAGE": "owned with a mortgage"}
_INCOMES = {
    "Source Verified": "was verified at its source",
    "Verified": "was verified",
    "Not Verified": "was not verified",
}
_NOT_ALL_DUE = "The loan does not have unpaid instalments after its term"


def _number(value: Value) -> float:
    return float(value)


def _dollars(value: Value) -> str:
    return f"${value:,.2f}".removesuffix(".00")


def _share(value: Value) -> str:
    return f"{value:.0%}".replace("%", " %")


def _instalments(value: float) -> str:
    text = f"{value:.1f}"
    return "1 instalment" if text == "1.0" else f"{text} instalments"


def _schedule(verb: str, value: Value) -> str:
    """Say how far payments are behind or ahead of schedule; `value` is the number of missing instalments."""
    missing = _number(value)
    text = _instalments(abs(missing))
    if text.startswith("0.0"):
        return f"{verb} on schedule"
    return f"{verb} {text} {'behind' if missing > 0 else 'ahead of'} schedule"


def _part(start: str, value: Value) -> str:
    """Say how far payments exceed a whole number of instalments; just below the next one counts as whole."""
    percent = round(_number(value) * 100)
    beyond = f"{percent} % of an instalment above" if 0 < percent < 100 else "equal to"
    return f"{start} {beyond} a whole number of instalments"


def _distance(value: Value) -> str:
    percent = round(_number(value) * 100)
    if percent == 0:
        return "Payments so far are equal to a whole number of instalments"
    return f"Payments so far differ from a whole number of instalments by {percent} % of an instalment"


def _irregularity(value: Value) -> str:
    percent = round(_number(value) * 100)
    if percent == 0:
        return "The last payment was 1 regular instalment"
    return f"The last payment differs from 1 instalment by {percent} %"


_STATEMENTS: dict[str, _Statement] = {
    "annual_income": lambda value: f"The annual income is {_dollars(value)}",
    "collections_in_last_12_months": lambda value: f"The number of collections in the last 12 months is {value:g}",
    "delinquencies_in_last_2_years": lambda value: (
        f"The number of payments 30 days late or more in the last 2 years is {value:g}"
    ),
    "debt_to_income_ratio": lambda value: f"Payments on other debts are {value:g} % of the income",
    "employment_length": lambda value: (
        f"The length of employment is {str(value).replace('<', 'less than').replace('10+ years', '10 years or more')}"
    ),
    "home_ownership": lambda value: f"The home is {_HOMES[str(value)]}",
    "number_of_delinquent_accounts": lambda value: f"The number of accounts that are now delinquent is {value:g}",
    "interest_rate": lambda value: f"The loan's interest rate is {value:g} %",
    "last_payment_amount": lambda value: f"The last payment was {_dollars(value)}",
    "loan_amount": lambda value: f"The loan amount is {_dollars(value)}",
    "derogatory_public_record_count": lambda value: f"The number of derogatory public records is {value:g}",
    "loan_purpose": lambda value: f"The stated purpose of the loan is {str(value).replace('_', ' ')}",
    "revolving_line_utilization_rate": lambda value: f"{value:g} % of the available revolving credit is in use",
    "term": lambda value: f"The term of the loan is {str(value).strip()}",
    "total_payments_to_date": lambda value: f"Payments so far total {_dollars(value)}",
    "verification_status": lambda value: f"The income {_INCOMES[str(value)]}",
    "arrears_in_instalments": lambda value: _schedule("Payments are", value),
    "arrears_before_last_payment": lambda value: _schedule("Before the last payment, payments were", value),
    "share_of_due_paid": lambda value: f"Payments so far cover {_share(value)} of the instalments due",
    "rounded_share_of_amount_repaid": lambda value: f"Payments so far are {_share(value)} of the loan amount",
    "rounded_last_payment_in_instalments": lambda value: f"The last payment was {_instalments(_number(value))}",
    "irregularity_of_last_payment": _irregularity,
    "distance_from_whole_instalments": _distance,
    "last_payment_after_term": lambda value: (
        f"The term is over with instalments unpaid, and the last payment was {_instalments(_number(value))}"
    ),
    "share_of_amount_repaid_after_term": lambda value: (
        f"The term is over with instalments unpaid, and payments are {_share(value)} of the loan amount"
    ),
    "partial_instalment_after_term": lambda value: _part(
        "The term is over with instalments unpaid, and payments are", value
    ),
    "earlier_payments_after_term": lambda value: (
        f"The term is over with instalments unpaid, and earlier payments cover {_instalments(_number(value))}"
    ),
    "last_payment_amount_after_term": lambda value: (
        f"The term is over with instalments unpaid, and the last payment was {_dollars(value)}"
    ),
    "total_payments_after_term": lambda value: (
        f"The term is over with instalments unpaid, and payments total {_dollars(value)}"
    ),
    "payments_in_instalments": lambda value: f"Payments so far cover {_instalments(_number(value))}",
    "share_of_schedule_paid": lambda value: f"Payments so far cover {_share(value)} of all scheduled instalments",
    "share_of_amount_repaid": lambda value: f"Payments so far are {_share(value)} of the loan amount",
    "last_payment_in_instalments": lambda value: f"The last payment was {_instalments(_number(value))}",
    "earlier_payments_in_instalments": lambda value: (
        f"Payments before the last one cover {_instalments(_number(value))}"
    ),
    "partial_instalment": lambda value: _part("Payments so far are", value),
}
"""The statement of fact for each feature's value."""

_WITHOUT_VALUE = {
    "debt_to_income_ratio": "The share of income spent on other debts is not known",
    "employment_length": "The length of employment is not known",
    "revolving_line_utilization_rate": "The use of revolving credit is not known",
    "last_payment_after_term": _NOT_ALL_DUE,
    "share_of_amount_repaid_after_term": _NOT_ALL_DUE,
    "partial_instalment_after_term": _NOT_ALL_DUE,
    "earlier_payments_after_term": _NOT_ALL_DUE,
    "last_payment_amount_after_term": _NOT_ALL_DUE,
    "total_payments_after_term": _NOT_ALL_DUE,
}
"""The statement of fact for each feature that has no value."""

_EFFECTS = {CreditRisk.RISKY: "which raises the risk", CreditRisk.SAFE: "which lowers the risk"}


def text(feature: str, direction: CreditRisk, values: Mapping[str, Value | None]) -> str:
    """Return one sentence on how a feature moved a loan's score.

    Args:
        feature: The feature's name.
        direction: Whether the feature raises or lowers the risk.
        values: The loan's features by name, categories as their level; None if not known or not applicable.

    Raises:
        KeyError: There is no sentence for the feature or its level.
    """
    value = values[feature]
    fact = _WITHOUT_VALUE[feature] if value is None else _STATEMENTS[feature](value)
    return f"{fact}, {_EFFECTS[direction]}."
