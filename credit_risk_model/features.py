"""What the contract means to the model: its features in order, the loan's arithmetic, and a loan as a row of numbers.

Training and the service both go through `loan_arithmetic`: it uses only +, -, *, / and %, which give the same bits for
Python floats and for NumPy arrays on every machine (powers and logarithms do not).
"""

from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from annotated_types import Ge, Le

from credit_risk_model.schemas import Column, CreditRiskModelInput, Level, Term


class LoanArithmetic(NamedTuple):
    """The derived features of one loan (floats) or of a table of loans (arrays), in the model's order."""

    payments_in_instalments: Any
    share_of_schedule_paid: Any
    share_of_amount_repaid: Any
    last_payment_in_instalments: Any
    earlier_payments_in_instalments: Any
    part_of_an_instalment: Any


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model.

    Attributes:
        name: The contract field's name, or the derived feature's.
        description: What it tells, in a sentence.
        levels: Category levels in the order of their codes; empty for a number.
        bounds: The contract's smallest and largest value, both allowed; None for categories and derived features.
        column: Column in Kaggle's `loan.csv`; None for a derived feature.
        fields: The contract fields it is computed from; its own name alone where it is a field.
    """

    name: str
    description: str
    fields: tuple[str, ...]
    levels: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    column: str | None = None


def _contract_feature(name: str) -> Feature:
    field = CreditRiskModelInput.model_fields[name]
    described = {type(item): item for item in field.metadata}
    levels: tuple[str, ...] = ()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Level):
        levels = tuple(level.value for level in field.annotation)
    return Feature(
        name=name,
        description=field.description or "",
        fields=(name,),
        levels=levels,
        bounds=None if levels else (described[Ge].ge, described[Le].le),
        column=described[Column].name,
    )


CONTRACT_FEATURES = tuple(_contract_feature(name) for name in CreditRiskModelInput.model_fields)
"""The 16 fields, in the contract's order."""

_TERMS_OF_LOAN = ("loan_amount", "interest_rate", "term")
_PAID_OF_TERMS = (*_TERMS_OF_LOAN, "total_payments_to_date")

DERIVED_FEATURES = (
    Feature("payments_in_instalments", "Payments to date, counted in instalments.", _PAID_OF_TERMS),
    Feature("share_of_schedule_paid", "Payments to date as a share of all scheduled instalments.", _PAID_OF_TERMS),
    Feature(
        "share_of_amount_repaid",
        "Payments to date as a share of the loan amount.",
        ("loan_amount", "total_payments_to_date"),
    ),
    Feature(
        "last_payment_in_instalments",
        "Last payment, counted in instalments.",
        (*_TERMS_OF_LOAN, "last_payment_amount"),
    ),
    Feature(
        "earlier_payments_in_instalments",
        "Payments to date before the last one, counted in instalments.",
        (*_PAID_OF_TERMS, "last_payment_amount"),
    ),
    Feature(
        "part_of_an_instalment",
        "What payments to date exceed a whole number of instalments by, as a share of one: fees and partial payments.",
        _PAID_OF_TERMS,
    ),
)
"""The loan's arithmetic, in the order of `LoanArithmetic`: trees can't divide one field by another.

Only what paid is kept. Without `last_payment_in_instalments` or `part_of_an_instalment` the AUC falls, the other four
add a little between them; the instalment itself, the amount outstanding and the share of income that an instalment
takes added nothing.
"""

FEATURES = CONTRACT_FEATURES + DERIVED_FEATURES
"""The model's inputs, in the order of its columns."""

NAMES = tuple(feature.name for feature in FEATURES)
CATEGORIES = tuple(feature.name for feature in FEATURES if feature.levels)


def loan_arithmetic(amount: Any, rate: Any, sixty_months: Any, last_payment: Any, payments: Any) -> tuple[Any, ...]:
    """Derive what the loan's terms and payments say of each other.

    Args:
        amount: Loan amount in US dollars, above 0.
        rate: Interest rate in percent a year, above 0.
        sixty_months: 1.0 for a term of 60 months, 0.0 for 36.
        last_payment: Last payment in US dollars.
        payments: Payments to date in US dollars.

    Returns:
        The derived features in the order of `LoanArithmetic`, whose making would cost more than the arithmetic: floats
        for floats, arrays for arrays, the same to the last bit.
    """
    monthly_rate = rate / 1200.0
    growth = 1.0 + monthly_rate
    growth_4 = growth * growth * growth * growth
    growth_12 = growth_4 * growth_4 * growth_4
    growth_24 = growth_12 * growth_12
    # Over 36 months, and 24 more where the term is 60.
    growth_over_term = growth_24 * growth_12 * (1.0 + sixty_months * (growth_24 - 1.0))
    instalment = amount * monthly_rate * growth_over_term / (growth_over_term - 1.0)
    payments_in_instalments = payments / instalment
    share_of_schedule_paid = payments_in_instalments / (36.0 + sixty_months * 24.0)
    share_of_amount_repaid = payments / amount
    last_payment_in_instalments = last_payment / instalment
    earlier_payments_in_instalments = (payments - last_payment) / instalment
    part_of_an_instalment = payments_in_instalments % 1.0
    return (
        payments_in_instalments,
        share_of_schedule_paid,
        share_of_amount_repaid,
        last_payment_in_instalments,
        earlier_payments_in_instalments,
        part_of_an_instalment,
    )


_values_of = attrgetter(*(f"{feature.name}.code" if feature.levels else feature.name for feature in CONTRACT_FEATURES))
_OPERANDS = ("loan_amount", "interest_rate", "term", "last_payment_amount", "total_payments_to_date")
_operands_of = itemgetter(*(NAMES.index(name) for name in _OPERANDS))


def row(loan: CreditRiskModelInput) -> tuple[float, ...]:
    """Turn one loan into the model's row, in the order of `FEATURES`; categories become their codes."""
    values: tuple[float, ...] = _values_of(loan)
    return values + loan_arithmetic(*_operands_of(values))


def derived_columns(loans: Any) -> dict[str, Any]:
    """Derive the arithmetic of a table of loans.

    Args:
        loans: A frame, or a mapping of field names to arrays; the fields that the arithmetic needs suffice.

    Returns:
        A column for each name in `LoanArithmetic`.
    """
    sixty_months = 1.0 * (loans["term"] == Term.sixty_months.value)
    arithmetic = loan_arithmetic(
        amount=loans["loan_amount"],
        rate=loans["interest_rate"],
        sixty_months=sixty_months,
        last_payment=loans["last_payment_amount"],
        payments=loans["total_payments_to_date"],
    )
    return dict(zip(LoanArithmetic._fields, arithmetic, strict=True))
