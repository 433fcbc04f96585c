"""The models' features in order, the loan's arithmetic, and the encoding of a loan as a row of numbers.

There are two feature sets. `AGE_KNOWN` is for loans whose `instalments_due` is known: it compares what was paid with
what was due. `AGE_UNKNOWN` is for all others.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf, nan
from operator import attrgetter
from typing import Any, get_args

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from credit_risk_model.arithmetic import (
    FLOATS,
    compute_instalment,
    derive_with_age,
    derive_without_age,
    numbers_of_arrays,
)
from credit_risk_model.schema_types import Column, Level
from credit_risk_model.schemas import CreditRiskModelInput, Term


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of a model, or one field of the contract.

    Attributes:
        name: The contract field's name, or the derived feature's.
        description: One sentence on what it means.
        fields: The contract fields it is computed from; only its own name if it is a field.
        levels: Category levels in the order of their codes; empty for a number.
        bounds: The smallest and largest value that the contract allows, or that a derived feature can have; None for
            categories and unbounded values.
        column: Column in Kaggle's `loan.csv`; None for a derived feature and for `instalments_due`.
        whole: Whether the contract takes whole numbers only.
        nullable: Whether the value may be null.
        direction: 1 if more of it never lowers the risk, all else equal; -1 if it never raises it; 0 if either.
    """

    name: str
    description: str
    fields: tuple[str, ...]
    levels: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    column: str | None = None
    whole: bool = False
    nullable: bool = False
    direction: int = 0

    @property
    def fact(self) -> str:
        """The payment field that a derived feature restates, or its name: a decision gives one reason per fact."""
        for payments in ("total_payments_to_date", "last_payment_amount", "instalments_due"):
            if payments in self.fields:
                return payments
        return self.name


def _find_parts(annotation: Any, metadata: list[Any]) -> Iterator[Any]:
    """Yield the types and annotations of a field, including those inside a union."""
    yield annotation
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else (item,)
    for argument in get_args(annotation):
        yield from _find_parts(argument, list(getattr(argument, "__metadata__", ())))


def _make_contract_feature(name: str) -> Feature:
    field = CreditRiskModelInput.model_fields[name]
    parts = list(_find_parts(field.annotation, field.metadata))
    found = {type(part): part for part in parts}
    levels: tuple[str, ...] = ()
    for part in parts:
        if isinstance(part, type) and issubclass(part, Level):
            levels = tuple(level.value for level in part)
    return Feature(
        name=name,
        description=field.description or "",
        fields=(name,),
        levels=levels,
        bounds=None if levels else (found[Ge].ge, found[Le].le),
        column=found[Column].name if Column in found else None,
        whole=int in parts,
        nullable=type(None) in parts,
    )


CONTRACT_FEATURES = tuple(_make_contract_feature(name) for name in CreditRiskModelInput.model_fields)
"""The 17 fields, in the contract's order."""

AGE = "instalments_due"
_PAYMENTS = ("last_payment_amount", "total_payments_to_date")
_APPLICATION = tuple(feature for feature in CONTRACT_FEATURES if feature.name not in (*_PAYMENTS, AGE))
_FIELDS_WITHOUT_AGE = tuple(feature for feature in CONTRACT_FEATURES if feature.name != AGE)

_TERMS_OF_LOAN = ("loan_amount", "interest_rate", "term")
_PAID = (*_TERMS_OF_LOAN, "total_payments_to_date")
_PAID_AND_LAST = (*_PAID, "last_payment_amount")
_LAST = (*_TERMS_OF_LOAN, "last_payment_amount")

_NOT_NEGATIVE = (0.0, inf)
_DERIVED_WITH_AGE = (
    Feature("arrears_in_instalments", "Instalments due minus instalments paid.", (*_PAID, AGE), direction=1),
    Feature(
        "arrears_before_last_payment",
        "Instalments due minus instalments paid before the last payment.",
        (*_PAID_AND_LAST, AGE),
        direction=1,
    ),
    Feature(
        "share_of_due_paid",
        "Payments to date as a share of the instalments due.",
        (*_PAID, AGE),
        direction=-1,
        bounds=_NOT_NEGATIVE,
    ),
    Feature(
        "rounded_share_of_amount_repaid",
        "Payments to date as a share of the loan amount, rounded to hundredths.",
        ("loan_amount", "total_payments_to_date"),
        bounds=_NOT_NEGATIVE,
    ),
    Feature(
        "rounded_last_payment_in_instalments",
        "Last payment in instalments, rounded to twentieths.",
        _LAST,
        bounds=_NOT_NEGATIVE,
    ),
    Feature(
        "irregularity_of_last_payment",
        "Difference between the last payment and one instalment, in instalments.",
        _LAST,
        bounds=_NOT_NEGATIVE,
    ),
    Feature(
        "distance_from_whole_instalments",
        "Distance of payments to date from the nearest whole number of instalments.",
        _PAID,
        bounds=(0.0, 0.5),
    ),
    Feature(
        "last_payment_after_term",
        "Last payment in instalments, if all instalments are due but not all are paid.",
        (*_LAST, AGE),
        bounds=_NOT_NEGATIVE,
    ),
    Feature(
        "share_of_amount_repaid_after_term",
        "Payments to date as a share of the loan amount, if all instalments are due but not all are paid.",
        ("loan_amount", "term", "total_payments_to_date", AGE),
        bounds=_NOT_NEGATIVE,
    ),
    Feature(
        "partial_instalment_after_term",
        "Fraction of an instalment paid beyond whole instalments, if all instalments are due but not all are paid.",
        (*_PAID, AGE),
        bounds=(0.0, 1.0),
    ),
    Feature(
        "earlier_payments_after_term",
        "Payments before the last one in instalments, if all instalments are due but not all are paid.",
        (*_PAID_AND_LAST, AGE),
    ),
    Feature(
        "last_payment_amount_after_term",
        "Last payment in US dollars, if all instalments are due but not all are paid.",
        ("term", "last_payment_amount", AGE),
        bounds=_NOT_NEGATIVE,
    ),
    Feature(
        "total_payments_after_term",
        "Payments to date in US dollars, if all instalments are due but not all are paid.",
        ("term", "total_payments_to_date", AGE),
        bounds=_NOT_NEGATIVE,
    ),
)
"""The derived features of a loan whose age is known, in the order of `derive_with_age`.

Payments count only relative to what was due, and dollar amounts do not count at all: otherwise a young loan looks like
one that stopped paying. Only features that compare payments with what was due are monotonic: more instalments due never
lower the risk, all else equal. Further constraints (on rate, income, debts, last payment) improved no figure. The last
six features tell ended loans apart: their recorded payments are those of the investors alone, and may be far below the
amount although the loan was repaid. They are NaN before the last instalment is due, and if all are paid, so that they
do not blur the arrears of running loans.
"""

_DERIVED_WITHOUT_AGE = (
    Feature("payments_in_instalments", "Payments to date in instalments.", _PAID, bounds=_NOT_NEGATIVE),
    Feature(
        "share_of_schedule_paid",
        "Payments to date as a share of all scheduled instalments.",
        _PAID,
        bounds=_NOT_NEGATIVE,
    ),
    Feature(
        "share_of_amount_repaid",
        "Payments to date as a share of the loan amount.",
        ("loan_amount", "total_payments_to_date"),
        bounds=_NOT_NEGATIVE,
    ),
    Feature("last_payment_in_instalments", "Last payment in instalments.", _LAST, bounds=_NOT_NEGATIVE),
    Feature(
        "earlier_payments_in_instalments",
        "Payments before the last one in instalments.",
        _PAID_AND_LAST,
    ),
    Feature(
        "partial_instalment",
        "Fraction of an instalment paid beyond whole instalments: fees and partial payments.",
        _PAID,
        bounds=(0.0, 1.0),
    ),
)
"""The derived features of a loan whose age is not known, in the order of `derive_without_age`."""


TERM_MONTHS = {term.value: term.months for term in Term}
"""Number of instalments by the term's level."""


def compute_instalments(loans: Any) -> Any:
    """Compute each loan's monthly instalment in US dollars from a table with amount, rate and term."""
    return compute_instalment(
        loans["loan_amount"], loans["interest_rate"], 1.0 * (loans["term"] == Term.SIXTY_MONTHS.value)
    )


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSet:
    """The inputs of one model.

    Attributes:
        name: Name in the archive.
        contract: The contract fields of the set, which come first.
        derived: The computed features.
        encode_loan: Encodes a loan as the model's row, in the order of `features`: categories become their codes, null
            becomes NaN.
    """

    name: str
    contract: tuple[Feature, ...]
    derived: tuple[Feature, ...]
    encode_loan: Callable[[CreditRiskModelInput], tuple[float, ...]]

    @property
    def features(self) -> tuple[Feature, ...]:
        """All features, in the order of the model's columns."""
        return self.contract + self.derived

    @property
    def names(self) -> tuple[str, ...]:
        """The names of `features`."""
        return tuple(feature.name for feature in self.features)

    @property
    def categories(self) -> tuple[str, ...]:
        """The names of the categorical features."""
        return tuple(feature.name for feature in self.features if feature.levels)


_Values = Callable[[CreditRiskModelInput], tuple[Any, ...]]


def _make_getter(fields: tuple[Feature, ...]) -> _Values:
    """Make a fast getter of a loan's fields as numbers: levels as their codes, null as NaN."""
    get = attrgetter(*(f"{field.name}.code" if field.levels else field.name for field in fields))
    # A null has no code.
    get_nullable = attrgetter(
        *(f"{field.name}.code" if field.levels and not field.nullable else field.name for field in fields)
    )
    nullable = [(place, bool(field.levels)) for place, field in enumerate(fields) if field.nullable]

    def get_values(loan: CreditRiskModelInput) -> tuple[Any, ...]:
        if (
            loan.employment_length is not None
            and loan.debt_to_income_ratio is not None
            and loan.revolving_line_utilization_rate is not None
        ):
            found: tuple[Any, ...] = get(loan)
            return found
        values = list(get_nullable(loan))
        for place, is_level in nullable:
            value = values[place]
            if value is None:
                values[place] = nan
            elif is_level:
                values[place] = value.code
        return tuple(values)

    return get_values


_get_application, _get_fields = _make_getter(_APPLICATION), _make_getter(_FIELDS_WITHOUT_AGE)


def _encode_with_age(loan: CreditRiskModelInput) -> tuple[float, ...]:
    sixty_months, due = loan.term.code, loan.instalments_due
    assert due is not None
    return _get_application(loan) + derive_with_age(
        loan.loan_amount,
        loan.interest_rate,
        sixty_months,
        loan.last_payment_amount,
        loan.total_payments_to_date,
        due,
        FLOATS,
    )


def _encode_without_age(loan: CreditRiskModelInput) -> tuple[float, ...]:
    return _get_fields(loan) + derive_without_age(
        loan.loan_amount, loan.interest_rate, loan.term.code, loan.last_payment_amount, loan.total_payments_to_date
    )


AGE_KNOWN = FeatureSet("age_known", _APPLICATION, _DERIVED_WITH_AGE, _encode_with_age)
AGE_UNKNOWN = FeatureSet("age_unknown", _FIELDS_WITHOUT_AGE, _DERIVED_WITHOUT_AGE, _encode_without_age)
FEATURE_SETS = (AGE_KNOWN, AGE_UNKNOWN)


def derive_columns(loans: Mapping[str, Any] | Any, wanted: FeatureSet) -> dict[str, Any]:
    """Compute the derived features of a table of loans.

    Args:
        loans: A frame, or a mapping of field names to arrays, with the fields that the arithmetic needs.
        wanted: The feature set whose derived features are computed.

    Returns:
        A column for each derived feature.
    """
    sixty_months = 1.0 * (loans["term"] == Term.SIXTY_MONTHS.value)
    operands = (
        loans["loan_amount"],
        loans["interest_rate"],
        sixty_months,
        loans["last_payment_amount"],
        loans["total_payments_to_date"],
    )
    if wanted is AGE_UNKNOWN:
        columns = derive_without_age(*operands)
    else:
        columns = derive_with_age(*operands, loans[AGE], numbers_of_arrays())
    return dict(zip((feature.name for feature in wanted.derived), columns, strict=True))
