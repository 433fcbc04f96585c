"""Filters the rows in the published order, and counts what each filter leaves."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from credit_risk_model.archive import CleaningRecord
from credit_risk_model.contract import SHIPPED, Bounds, Contract, may_be_widened, widen, widest_bounds
from credit_risk_model.errors import DataError
from credit_risk_model.features import AGE, AGE_KNOWN, AGE_UNKNOWN, CONTRACT_FEATURES, FeatureSet
from credit_risk_model.tables.columns import INSTALLMENT
from credit_risk_model.tables.numbers import round_to_whole
from credit_risk_model.training.loans import ISSUE_MONTH, SOURCE

_Filter = Callable[[pd.DataFrame], pd.Series]


def _is_complete(loans: pd.DataFrame) -> pd.Series:
    optional = [feature.name for feature in CONTRACT_FEATURES if feature.nullable]
    return loans.drop(columns=[ISSUE_MONTH, SOURCE, *optional], errors="ignore").notna().all(axis="columns")


def _make_deviation_filter(field: str) -> _Filter:
    def keep(loans: pd.DataFrame) -> pd.Series:
        return loans[field].isna() | ((loans[field] - loans[field].mean()).abs() <= 3 * loans[field].std())

    return keep


def _make_limit_filter(field: str, limit: float) -> _Filter:
    return lambda loans: loans[field].isna() | (loans[field] <= limit)


def _is_own_rented_or_mortgaged(loans: pd.DataFrame) -> pd.Series:
    return ~loans["home_ownership"].isin(["OTHER", "NONE", "ANY"])


STEPS: tuple[tuple[str, _Filter], ...] = (
    ("no required value missing", _is_complete),
    ("annual income within 3 standard deviations of the mean", _make_deviation_filter("annual_income")),
    ("debt-to-income ratio within 3 standard deviations of the mean", _make_deviation_filter("debt_to_income_ratio")),
    ("number of delinquent accounts at most 6", _make_limit_filter("number_of_delinquent_accounts", 6)),
    ("home ownership not OTHER, NONE or ANY", _is_own_rented_or_mortgaged),
    ("collections in the last 12 months at most 5", _make_limit_filter("collections_in_last_12_months", 5)),
    ("delinquencies in the last 2 years at most 10", _make_limit_filter("delinquencies_in_last_2_years", 10)),
    ("derogatory public records at most 10", _make_limit_filter("derogatory_public_record_count", 10)),
    ("revolving line utilization at most 100 percent", _make_limit_filter("revolving_line_utilization_rate", 100)),
)
"""Each step's name, and its filter. Means and deviations are those of the rows that earlier steps left.

A missing value is kept if the contract allows null: dropping such loans improves no figure.
"""

_WIDENED = [feature.name for feature in CONTRACT_FEATURES if may_be_widened(feature)]


def _can_be(loans: pd.DataFrame) -> pd.Series:
    within = pd.Series(True, index=loans.index)
    for name in _WIDENED:
        within &= loans[name].isna() | loans[name].between(*widest_bounds(name))
    return within


STEP_OF_WIDENING = ("no impossible number: below 0, an amount below 1, a rate below 0.01", _can_be)
"""The last step if bounds are widened: such loans must not widen them."""

ROWS_OF_KAGGLES_FILE = 887_379
PUBLISHED_ROWS = (887379, 841954, 835167, 835112, 835111, 834889, 834884, None, 834415, 831103)
"""The published number of rows that each step leaves of Kaggle's file; there, any missing value drops a loan.

The source has one number fewer than steps: 834,415 may stand for the delinquencies, the derogatory records or both. It
is placed after both, and None after the first.
"""


@dataclass(frozen=True)
class CleanLoans:
    """Loans in the contract's form.

    Attributes:
        loans: The loans without `installment` (it follows from amount, rate and term). Numbers and dollars are whole if
            the contract has integers, and categories have the contract's levels.
        steps: `step`, `rows` left, `removed` and, for a file of Kaggle's size, `published` rows.
        contract: The contract that the archive checks loans by.
    """

    loans: pd.DataFrame
    steps: pd.DataFrame
    contract: Contract

    @property
    def main_features(self) -> FeatureSet:
        """The features of the main model: with the age if any loan's is known."""
        return AGE_KNOWN if self.loans[AGE].notna().any() else AGE_UNKNOWN

    @property
    def records(self) -> tuple[CleaningRecord, ...]:
        """The steps as the archive's metadata stores them."""
        return tuple(CleaningRecord.model_validate(row) for row in self.steps[["step", "rows"]].to_dict("records"))


def clean(loans: pd.DataFrame, *, widen_bounds: bool = False) -> CleanLoans:
    """Filter the loans and convert them to the contract's form.

    Args:
        loans: The loans that `read_loans` returns.
        widen_bounds: Whether to widen the contract's bounds to hold all loans that are left.

    Raises:
        DataError: No row is left, or a value is not one of the contract's levels.
    """
    table = [{"step": "as read", "rows": len(loans)}]
    for words, keep in (*STEPS, STEP_OF_WIDENING) if widen_bounds else STEPS:
        loans = loans[keep(loans)]
        table.append({"step": words, "rows": len(loans)})
    if loans.empty:
        raise DataError("The cleaning steps leave no loan: the file has too few complete ones. Use a larger file.")
    steps = pd.DataFrame(table)
    steps["removed"] = -steps["rows"].diff().fillna(0).astype(int)
    if steps["rows"].iloc[0] == ROWS_OF_KAGGLES_FILE:
        steps["published"] = pd.Series(PUBLISHED_ROWS, dtype="Int64").reindex(steps.index)
    loans = _convert_to_contract(loans.drop(columns=INSTALLMENT)).reset_index(drop=True)
    return CleanLoans(loans, steps, widen(find_wider_bounds(loans)) if widen_bounds else SHIPPED)


def find_wider_bounds(loans: pd.DataFrame) -> dict[str, Bounds]:
    """Find the fields whose values exceed the shipped bounds, with the bounds that would hold all of them."""
    wider = {}
    for name in _WIDENED:
        minimum, maximum = SHIPPED.bounds[name]
        low, high = min(minimum, float(loans[name].min())), max(maximum, float(loans[name].max()))
        if (low, high) != (minimum, maximum):
            wider[name] = low, high
    return wider


def describe_bounds(cleaned: CleanLoans) -> list[str]:
    """Describe where the loans exceed the shipped bounds, and whether the archive accepts such loans."""
    sentences = []
    for name, (low, high) in find_wider_bounds(cleaned.loans).items():
        minimum, maximum = SHIPPED.bounds[name]
        if name in cleaned.contract.widened:
            sentences.append(
                f"{name}: bounds {low:.10g} to {high:.10g}, widened from {minimum:.10g} to {maximum:.10g}."
            )
        else:
            sentences.append(
                f"{name}: the archive accepts {minimum:.10g} to {maximum:.10g}, which some of these loans exceed. "
                f"Set widen_bounds to accept {low:.10g} to {high:.10g}."
            )
    return sentences


def _convert_to_contract(loans: pd.DataFrame) -> pd.DataFrame:
    columns: dict[str, pd.Series] = {}
    for feature in CONTRACT_FEATURES:
        column = loans[feature.name]
        if feature.levels:
            unknown = int((~column.isin(feature.levels) & ~(feature.nullable & column.isna())).sum())
            if unknown:
                raise DataError(
                    f"Column {feature.column}: {unknown} rows hold an unknown level. "
                    f"The known ones are {', '.join(map(repr, feature.levels))}."
                )
            columns[feature.name] = column.cat.set_categories(feature.levels)
        elif feature.whole and not feature.nullable:
            # Some incomes have cents. Requests can't, so the model must not learn from cents.
            columns[feature.name] = round_to_whole(column).astype("int64")
    return loans.assign(**columns)
