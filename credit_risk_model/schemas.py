"""The contract: the 17 fields of a loan and the fields of a response, each defined only here.

These classes have each field's name, type, bounds, levels, description and column in Kaggle's `loan.csv`. The OpenAPI
contract, the features, the checks of training data and the model card use them.
"""

from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from credit_risk_model.examples import EXAMPLE_ANSWER, EXAMPLE_EXPLANATION, EXAMPLE_LOAN
from credit_risk_model.schema_types import Column, Counted, Level, WholeNumber, WithinTerm


class EmploymentLength(Level):
    """Employment length in years."""

    LESS_THAN_1_YEAR = "< 1 year"
    ONE_YEAR = "1 year"
    TWO_YEARS = "2 years"
    THREE_YEARS = "3 years"
    FOUR_YEARS = "4 years"
    FIVE_YEARS = "5 years"
    SIX_YEARS = "6 years"
    SEVEN_YEARS = "7 years"
    EIGHT_YEARS = "8 years"
    NINE_YEARS = "9 years"
    TEN_OR_MORE_YEARS = "10+ years"


class HomeOwnership(Level):
    """Home ownership status."""

    RENT = "RENT"
    OWN = "OWN"
    MORTGAGE = "MORTGAGE"


class LoanPurpose(Level):
    """Purpose of the loan."""

    DEBT_CONSOLIDATION = "debt_consolidation"
    CREDIT_CARD = "credit_card"
    HOME_IMPROVEMENT = "home_improvement"
    OTHER = "other"
    MAJOR_PURCHASE = "major_purchase"
    SMALL_BUSINESS = "small_business"
    CAR = "car"
    MEDICAL = "medical"
    MOVING = "moving"
    VACATION = "vacation"
    WEDDING = "wedding"
    HOUSE = "house"
    RENEWABLE_ENERGY = "renewable_energy"
    EDUCATIONAL = "educational"


class Term(Level):
    """Number of monthly payments; the leading space is in LendingClub's data."""

    months: int  # stands in no docstring, since that is the contract's description

    THIRTY_SIX_MONTHS = " 36 months"
    SIXTY_MONTHS = " 60 months"

    def __init__(self, value: str) -> None:
        """Read the number once: each request needs it."""
        self.months = int(value.split(maxsplit=1)[0])


class VerificationStatus(Level):
    """Whether the income was verified."""

    SOURCE_VERIFIED = "Source Verified"
    VERIFIED = "Verified"
    NOT_VERIFIED = "Not Verified"


class CreditRisk(str, Enum):  # noqa: UP042  # as the levels: a plain mixin
    """The decision on a loan: how it stands now. It says nothing of what will become of a loan that pays.

    Risky: charged off, in default, or late by 16 days or more. Safe: every other loan, also one that is repaid.
    """

    SAFE = "safe"
    RISKY = "risky"


class Caution(str, Enum):  # noqa: UP042  # as the decision
    """Why an answer is not to be relied on. The codes are stable.

    `instalments_due_missing`: the request does not say how many instalments were due, so that a young loan can't be
    told from one that stopped paying. `instalments_due_unused`: the request says it, but the archive was trained on
    loans of unknown age. `outside_training_range`: a value lies outside all that the model saw in training.
    """

    INSTALMENTS_DUE_MISSING = "instalments_due_missing"
    INSTALMENTS_DUE_UNUSED = "instalments_due_unused"
    OUTSIDE_TRAINING_RANGE = "outside_training_range"


WITHIN_TERM: dict[str, Any] = {
    "if": {"properties": {"term": {"const": Term.THIRTY_SIX_MONTHS.value}}},
    "then": {"properties": {"instalments_due": {"maximum": Term.THIRTY_SIX_MONTHS.months}}},
}
"""The rule of `WithinTerm` as JSON Schema."""


class CreditRiskModelInput(BaseModel):
    """A running loan as it stands on the day of the request. Amounts are in US dollars, rates in percent."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, json_schema_extra={"examples": [EXAMPLE_LOAN], **WITHIN_TERM}
    )

    annual_income: Annotated[
        int,
        Field(ge=1896, le=273000, description="Annual income that the borrower reported, in whole US dollars a year."),
        WholeNumber(),
        Column("annual_inc"),
    ]
    collections_in_last_12_months: Annotated[
        int,
        Field(ge=0, le=20, description="Number of collections in the last 12 months, without medical ones."),
        WholeNumber(),
        Column("collections_12_mths_ex_med"),
    ]
    delinquencies_in_last_2_years: Annotated[
        int,
        Field(
            ge=0,
            le=39,
            description="Number of times in the last 2 years that the borrower was 30 days or more late, on any debt "
            "in the credit file.",
        ),
        WholeNumber(),
        Column("delinq_2yrs"),
    ]
    debt_to_income_ratio: Annotated[
        Annotated[float, Field(ge=0, le=42.64, strict=True)] | None,
        Field(
            description="Monthly payments on all other debts, without mortgages, as a percent of monthly income: 17.2 "
            "means 17.2 %, not 0.172. Null: not known (a joint application, for one).",
        ),
        Column("dti"),
    ]
    employment_length: Annotated[
        EmploymentLength | None,
        Field(description="Time in employment, in years. Null: not known."),
        Column("emp_length"),
    ]
    home_ownership: Annotated[
        HomeOwnership, Field(description="Whether the borrower's home is rented or owned."), Column("home_ownership")
    ]
    number_of_delinquent_accounts: Annotated[
        int,
        Field(ge=0, le=6, description="Number of the borrower's accounts that are now overdue."),
        WholeNumber(),
        Column("acc_now_delinq"),
    ]
    interest_rate: Annotated[
        float,
        Field(
            ge=5.32,
            le=28.99,
            strict=True,
            description="Interest rate of the loan in percent a year: 13.5 means 13.5 %, not 0.135.",
        ),
        Column("int_rate"),
    ]
    last_payment_amount: Annotated[
        float,
        Field(
            ge=0,
            le=36475.59,
            strict=True,
            description="Last payment received, in US dollars; 0 where none was received yet.",
        ),
        Column("last_pymnt_amnt"),
    ]
    loan_amount: Annotated[
        int,
        Field(ge=500, le=35000, description="Amount of the loan, in whole US dollars."),
        WholeNumber(),
        Column("loan_amnt"),
    ]
    derogatory_public_record_count: Annotated[
        int, Field(ge=0, le=86, description="Number of derogatory public records."), WholeNumber(), Column("pub_rec")
    ]
    loan_purpose: Annotated[
        LoanPurpose, Field(description="Purpose that the borrower gave for the loan."), Column("purpose")
    ]
    revolving_line_utilization_rate: Annotated[
        Annotated[float, Field(ge=0, le=892.3, strict=True)] | None,
        Field(
            description="Revolving credit in use, as a percent of the revolving credit available: 54.0 means 54 %, not "
            "0.54. Null: not known, or no revolving credit.",
        ),
        Column("revol_util"),
    ]
    term: Annotated[
        Term, Field(description="Number of monthly instalments, 36 or 60; the leading space is needed."), Column("term")
    ]
    total_payments_to_date: Annotated[
        float,
        Field(
            ge=0,
            le=57777.58,
            strict=True,
            description="All payments received to date for the part that investors funded, in US dollars.",
        ),
        Column("total_pymnt_inv"),
    ]
    verification_status: Annotated[
        VerificationStatus,
        Field(description="Whether the income was verified, and how."),
        Column("verification_status"),
    ]
    instalments_due: Annotated[
        Annotated[int, Field(ge=0, le=60), WholeNumber()] | None,
        Field(
            description="Number of scheduled instalments that had fallen due by the day of the request, 0 to 36 or 60, "
            "the loan's term. Null or absent: not known; the answer then carries the caution "
            "`instalments_due_missing`.",
        ),
        WithinTerm(),
    ] = None


class CreditRiskModelOutput(BaseModel):
    """The answer: the decision, the probability that it rests on, and whether to rely on it."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [EXAMPLE_ANSWER]})

    credit_risk: CreditRisk = Field(
        description="`risky`: the loan is charged off, in default, or 16 days late or more, as it stands now. `safe`: "
        "it is none of these. Nothing is said of the future."
    )
    risk_probability: float = Field(
        ge=0, le=1, description="Probability that the loan is risky, a fraction: 0.08 means 8 %."
    )
    cautions: tuple[Caution, ...] = Field(
        description="Why the answer is not to be relied on; empty as a rule. `instalments_due_missing`: a young loan "
        "can't be told from one that stopped paying. `instalments_due_unused`: the archive was trained without it. "
        "`outside_training_range`: a value lies outside all that the model saw in training."
    )


class CreditRiskExplanationInput(CreditRiskModelInput):
    """A running loan, and how many reasons are wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_LOAN, "max_reasons": 2}], **WITHIN_TERM})

    max_reasons: Annotated[int, Field(ge=1, le=100), WholeNumber()] | None = Field(
        default=None,
        description="Most reasons to name; without it the service's setting. Up to 4 are those that speak most for the "
        "decision; more are the strongest of either direction, up to all features.",
    )


class Reason(BaseModel):
    """What one feature did to the loan's score."""

    model_config = ConfigDict(frozen=True)

    feature: str = Field(description="A field of the loan, or a feature derived from several.")
    fields: tuple[str, ...] = Field(description="The loan's fields that the feature comes from.")
    value: int | float | str | None = Field(
        description="The feature's value for this loan; null where it is not known or does not apply."
    )
    contribution: float = Field(
        description="What the feature adds to the log-odds of being risky (TreeSHAP): positive = towards risky."
    )
    direction: CreditRisk = Field(description="What the feature speaks for.")
    text: str = Field(description="The reason in a plain sentence.")


class OutsideTraining(BaseModel):
    """A value of the loan beyond all that the model saw in training, where it only guesses."""

    model_config = ConfigDict(frozen=True)

    feature: str = Field(description="A field of the loan, or a feature derived from several.")
    value: float = Field(description="The feature's value for this loan.")
    minimum: float = Field(description="Smallest value in training.")
    maximum: float = Field(description="Largest value in training.")


class CreditRiskExplanationOutput(CreditRiskModelOutput):
    """The answer with its reasons.

    Over all features that moved the score, logit(baseline_probability) plus the contributions is
    logit(risk_probability).
    """

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [EXAMPLE_EXPLANATION]})

    cut_off: float = Field(gt=0, lt=1, description="Risky from this probability on.")
    baseline_probability: float = Field(ge=0, le=1, description="Where the score starts, before any feature.")
    reasons: tuple[Reason, ...] = Field(description="The strongest first.")
    out_of_training_range: tuple[OutsideTraining, ...] = Field(
        description="The loan's values that lie outside what the model saw in training."
    )


LOANS_OF_A_BATCH = 1000


class CreditRiskBatchInput(BaseModel):
    """Running loans, to be answered together or not at all."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"loans": [EXAMPLE_LOAN, EXAMPLE_LOAN]}]}
    )

    loans: Annotated[tuple[CreditRiskModelInput, ...], Counted(minimum=1, maximum=LOANS_OF_A_BATCH)]


class CreditRiskBatchOutput(BaseModel):
    """The answers, in the order of the loans."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"predictions": [EXAMPLE_ANSWER, EXAMPLE_ANSWER]}]}
    )

    predictions: tuple[CreditRiskModelOutput, ...]
