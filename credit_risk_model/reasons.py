"""What each feature's part in a decision is called, in words that a borrower understands.

Every sentence states what is the case for the loan and which way it moved the score. It never says that a value is high
or low: the model's trees are not monotonous, so that it may be the other way round for this loan.
"""

from collections.abc import Callable, Mapping

from credit_risk_model.schemas import CreditRisk

Value = int | float | str


def _dollars(value: Value) -> str:
    return f"${value:,.2f}".removesuffix(".00")


def _percent(value: Value) -> str:
    return f"{value:g} %"


def _share(value: Value) -> str:
    return f"{value:.0%}".replace("%", " %")


def _count(value: Value) -> str:
    return f"{value:g}"


def _decimal(value: Value) -> str:
    return f"{value:.1f}"


def _one_of(**words: str) -> Callable[[Value], str]:
    return lambda value: words[str(value)]


_HOMES = _one_of(RENT="rented", OWN="owned", MORTGAGE="owned with a mortgage")
_INCOMES = {
    "Source Verified": "was verified at its source",
    "Verified": "was verified",
    "Not Verified": "was not verified",
}

_STATEMENTS: dict[str, tuple[str, Callable[[Value], str]]] = {
    "annual_income": ("The annual income is {annual_income}", _dollars),
    "collections_in_last_12_months": (
        "The number of collections in the last 12 months is {collections_in_last_12_months}",
        _count,
    ),
    "delinquencies_in_last_2_years": (
        "The number of payments more than 30 days late in the last 2 years is {delinquencies_in_last_2_years}",
        _count,
    ),
    "debt_to_income_ratio": ("Payments on other debts take {debt_to_income_ratio} of the income", _percent),
    "employment_length": (
        "The time in employment is {employment_length}",
        lambda value: str(value).replace("<", "less than").replace("10+ years", "10 years or more"),
    ),
    "home_ownership": ("The home is {home_ownership}", _HOMES),
    "number_of_delinquent_accounts": (
        "The number of accounts that are now overdue is {number_of_delinquent_accounts}",
        _count,
    ),
    "interest_rate": ("The loan's interest rate is {interest_rate}", _percent),
    "last_payment_amount": ("The last payment was {last_payment_amount}", _dollars),
    "loan_amount": ("The loan amount is {loan_amount}", _dollars),
    "derogatory_public_record_count": (
        "The number of derogatory public records is {derogatory_public_record_count}",
        _count,
    ),
    "loan_purpose": ("The loan's purpose is given as {loan_purpose}", lambda value: str(value).replace("_", " ")),
    "revolving_line_utilization_rate": (
        "{revolving_line_utilization_rate} of the available revolving credit is in use",
        _percent,
    ),
    "term": ("The loan runs over {term}", lambda value: str(value).strip()),
    "total_payments_to_date": ("Payments so far come to {total_payments_to_date}", _dollars),
    "verification_status": ("The income {verification_status}", lambda value: _INCOMES[str(value)]),
    "payments_in_instalments": (
        "Payments so far cover {payments_in_instalments} instalments of a loan over {term}",
        _decimal,
    ),
    "share_of_schedule_paid": ("Payments so far cover {share_of_schedule_paid} of all scheduled instalments", _share),
    "share_of_amount_repaid": ("Payments so far come to {share_of_amount_repaid} of the loan amount", _share),
    "last_payment_in_instalments": ("The last payment covers {last_payment_in_instalments} instalments", _decimal),
    "earlier_payments_in_instalments": (
        "Payments before the last one cover {earlier_payments_in_instalments} instalments",
        _decimal,
    ),
    "part_of_an_instalment": (
        "Payments so far exceed a whole number of instalments by {part_of_an_instalment} of one",
        lambda value: f"{int(float(value) * 100)} %",  # always below a whole one
    ),
}
"""For each feature what is the case, and how its value is written."""

_EFFECTS = {CreditRisk.risky: "which raises the risk", CreditRisk.safe: "which lowers the risk"}


class _Words(dict[str, str]):
    """The values as they are written, each once it is asked for."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        super().__init__()
        self._values = values

    def __missing__(self, feature: str) -> str:
        """Write a value."""
        return _STATEMENTS[feature][1](self._values[feature])


def text(feature: str, direction: CreditRisk, values: Mapping[str, Value]) -> str:
    """Say in one sentence what a feature did to a loan's score.

    Args:
        feature: The feature's name.
        direction: What it speaks for.
        values: The loan's features by name, categories by their level.

    Raises:
        KeyError: The feature has no words, or its level.
    """
    return f"{_STATEMENTS[feature][0].format_map(_Words(values))}, {_EFFECTS[direction]}."
