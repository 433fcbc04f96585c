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
    """Number of monthly instalments. The leading space comes from LendingClub's data."""

    months: int  # not in the docstring, which is the contract's description

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
    """The decision: how the loan stands now. It does not forecast what will become of a loan that pays.

    Risky: charged off, in default, or 16 days late or more. Safe: all other loans, repaid ones included.
    """

    SAFE = "safe"
    RISKY = "risky"


class Caution(str, Enum):  # noqa: UP042  # as the decision
    """Why a prediction is not reliable. The codes are stable.

    `instalments_due_missing`: the request has no `instalments_due`, so the model can't tell a young loan from one that
    stopped paying. `instalments_due_unused`: the request has it, but the archive was trained on loans of unknown age.
    `outside_training_range`: a value is outside the range that the model saw in training.
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
        Field(ge=1896, le=273000, description="Annual income that the borrower reported, in whole US dollars."),
        WholeNumber(),
        Column("annual_inc"),
    ]
    collections_in_last_12_months: Annotated[
        int,
        Field(ge=0, le=20, description="Number of collections in the last 12 months, excluding medical ones."),
        WholeNumber(),
        Column("collections_12_mths_ex_med"),
    ]
    delinquencies_in_last_2_years: Annotated[
        int,
        Field(
            ge=0,
            le=39,
            description="Number of delinquencies of 30 days or more in the last 2 years, on any debt in the borrower's "
            "credit file.",
        ),
        WholeNumber(),
        Column("delinq_2yrs"),
    ]
    debt_to_income_ratio: Annotated[
        Annotated[float, Field(ge=0, le=42.64, strict=True)] | None,
        Field(
            description="Monthly payments on all other debts except mortgages, as a percentage of monthly income: "
            "17.2 means 17.2 %, not 0.172. Null if unknown, for example on a joint application.",
        ),
        Column("dti"),
    ]
    employment_length: Annotated[
        EmploymentLength | None,
        Field(description="Length of employment, in years. Null if unknown."),
        Column("emp_length"),
    ]
    home_ownership: Annotated[
        HomeOwnership,
        Field(description="Whether the borrower rents a home, owns it, or owns it with a mortgage."),
        Column("home_ownership"),
    ]
    number_of_delinquent_accounts: Annotated[
        int,
        Field(ge=0, le=6, description="Number of accounts on which the borrower is now delinquent."),
        WholeNumber(),
        Column("acc_now_delinq"),
    ]
    interest_rate: Annotated[
        float,
        Field(
            ge=5.32,
            le=28.99,
            strict=True,
            description="Annual interest rate of the loan, in percent: 13.5 means 13.5 %, not 0.135.",
        ),
        Column("int_rate"),
    ]
    last_payment_amount: Annotated[
        float,
        Field(
            ge=0,
            le=36475.59,
            strict=True,
            description="Last payment received, in US dollars. 0 if none was received yet.",
        ),
        Column("last_pymnt_amnt"),
    ]
    loan_amount: Annotated[
        int,
        Field(ge=500, le=35000, description="Loan amount, in whole US dollars."),
        WholeNumber(),
        Column("loan_amnt"),
    ]
    derogatory_public_record_count: Annotated[
        int, Field(ge=0, le=86, description="Number of derogatory public records."), WholeNumber(), Column("pub_rec")
    ]
    loan_purpose: Annotated[
        LoanPurpose, Field(description="Purpose of the loan, as the borrower stated it."), Column("purpose")
    ]
    revolving_line_utilization_rate: Annotated[
        Annotated[float, Field(ge=0, le=892.3, strict=True)] | None,
        Field(
            description="Revolving credit in use, as a percentage of the revolving credit available: 54.0 means 54 %, "
            "not 0.54. Null if unknown, or if there is no revolving credit.",
        ),
        Column("revol_util"),
    ]
    term: Annotated[
        Term,
        Field(description="Number of monthly instalments, 36 or 60. The leading space is required."),
        Column("term"),
    ]
    total_payments_to_date: Annotated[
        float,
        Field(
            ge=0,
            le=57777.58,
            strict=True,
            description="All payments received to date on the part that investors funded, in US dollars.",
        ),
        Column("total_pymnt_inv"),
    ]
    verification_status: Annotated[
        VerificationStatus,
        Field(description="Whether the borrower's income was verified, and how."),
        Column("verification_status"),
    ]
    instalments_due: Annotated[
        Annotated[int, Field(ge=0, le=60), WholeNumber()] | None,
        Field(
            description="Number of scheduled instalments due by the day of the request: 0 to the loan's term, 36 or "
            "60. Null or absent if unknown. The response then has the caution `instalments_due_missing`.",
        ),
        WithinTerm(),
    ] = None


class CreditRiskModelOutput(BaseModel):
    """The prediction: the decision, the probability that it is based on, and cautions."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [EXAMPLE_ANSWER]})

    credit_risk: CreditRisk = Field(
        description="How the loan stands now. `risky`: charged off, in default, or 16 days late or more. `safe`: none "
        "of these. It is not a forecast."
    )
    risk_probability: float = Field(
        ge=0, le=1, description="Probability that the loan is risky, as a fraction: 0.08 means 8 %."
    )
    cautions: tuple[Caution, ...] = Field(
        description="Why the prediction is not reliable. Usually empty. `instalments_due_missing`: the model can't "
        "tell a young loan from one that stopped paying. `instalments_due_unused`: the archive was trained without it. "
        "`outside_training_range`: a value is outside the range that the model saw in training."
    )


class CreditRiskExplanationInput(CreditRiskModelInput):
    """A running loan, and the maximum number of reasons."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_LOAN, "max_reasons": 2}], **WITHIN_TERM})

    max_reasons: Annotated[int, Field(ge=1, le=100), WholeNumber()] | None = Field(
        default=None,
        description="Maximum number of reasons. Default: the service's setting. With up to 4, they are the strongest "
        "reasons for the decision. With more, they are the strongest in either direction, up to all features.",
    )


class Reason(BaseModel):
    """The effect of one feature on the loan's score."""

    model_config = ConfigDict(frozen=True)

    feature: str = Field(description="A field of the loan, or the name of a feature derived from several fields.")
    fields: tuple[str, ...] = Field(description="Fields of the loan that the feature is computed from.")
    value: int | float | str | None = Field(
        description="Value of the feature for this loan. Null if unknown or not applicable."
    )
    contribution: float = Field(
        description="Contribution to the log-odds of risky (TreeSHAP). A positive one raises the risk."
    )
    direction: CreditRisk = Field(description="`risky` if the feature raises the risk, `safe` if it lowers it.")
    text: str = Field(description="The reason in one sentence.")


class OutsideTraining(BaseModel):
    """A value outside the range that the model saw in training. Predictions for such values are not reliable."""

    model_config = ConfigDict(frozen=True)

    feature: str = Field(description="A field of the loan, or the name of a feature derived from several fields.")
    value: float = Field(description="Value of the feature for this loan.")
    minimum: float = Field(description="Smallest value in training.")
    maximum: float = Field(description="Largest value in training.")


class CreditRiskExplanationOutput(CreditRiskModelOutput):
    """The prediction with its reasons.

    logit(risk_probability) is logit(baseline_probability) plus the contributions of all features that moved the score.
    """

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [EXAMPLE_EXPLANATION]})

    cut_off: float = Field(gt=0, lt=1, description="A loan with this probability or more is risky.")
    baseline_probability: float = Field(ge=0, le=1, description="Probability before any feature is taken into account.")
    reasons: tuple[Reason, ...] = Field(description="Reasons, the strongest first.")
    out_of_training_range: tuple[OutsideTraining, ...] = Field(
        description="Values of the loan outside the range that the model saw in training."
    )


LOANS_OF_A_BATCH = 1000


class CreditRiskBatchInput(BaseModel):
    """Running loans. All of them are predicted, or none."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"loans": [EXAMPLE_LOAN, EXAMPLE_LOAN]}]}
    )

    loans: Annotated[tuple[CreditRiskModelInput, ...], Counted(minimum=1, maximum=LOANS_OF_A_BATCH)]


class CreditRiskBatchOutput(BaseModel):
    """The predictions, in the order of the loans."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"predictions": [EXAMPLE_ANSWER, EXAMPLE_ANSWER]}]}
    )

    predictions: tuple[CreditRiskModelOutput, ...]
