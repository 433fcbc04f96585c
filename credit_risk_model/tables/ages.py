"""Computes the age of a table's loans: applies the rule of `loan_age` to whole columns."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model.features import CONTRACT_FEATURES, TERM_MONTHS
from credit_risk_model.loan_age import ISSUED, SNAPSHOT, AgeSource, parse_month
from credit_risk_model.tables.spellings import find_level
from credit_risk_model.tables.texts import Array, is_text, number_texts

(_TERM,) = (feature for feature in CONTRACT_FEATURES if feature.name == "term")


def holds_months(kind: pa.DataType) -> bool:
    """Return whether a column of this type can hold months: text, dates, timestamps, or nulls only."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        try:
            pc.year(pa.array([0], kind))
        except pa.ArrowException:  # its time zone is unknown
            return False
    return bool(is_text(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_null(kind))


def number_months(column: pa.Array) -> Array:
    """Convert a column to month numbers as `loan_age` counts them; NaN for values that are not months.

    Args:
        column: Text such as Dec-2011, dates or timestamps, plain or dictionary-encoded. The month of a timestamp with a
            time zone is that of its zone.
    """
    kind = column.type
    if pa.types.is_dictionary(kind) and pa.types.is_temporal(kind.value_type):
        column = column.dictionary_decode()
    if pa.types.is_temporal(column.type):
        months = pc.add(pc.multiply(pc.year(column), 12), pc.subtract(pc.month(column), 1))
        return np.asarray(pc.cast(months, pa.float64()).fill_null(np.nan).to_numpy())
    return number_texts(column, _parse_month, np.nan)


def _parse_month(text: bytes) -> float:
    month = parse_month(text.decode(errors="replace"))
    return np.nan if month is None else month


def find_latest(column: pa.Array) -> int | None:
    """Find the latest month of a column; return None if no value is a month."""
    months = number_months(column)
    return None if np.isnan(months).all() else int(np.nanmax(months))


def compute_due(columns: Mapping[str, pa.Array], source: AgeSource) -> pa.Array:
    """Compute the instalments due from months; null if a month or the term is unknown.

    Args:
        columns: `term`, the month of issue, and each loan's snapshot month if the source needs it.
        source: Where the age comes from; it must be a computed one.
    """
    snapshot = number_months(columns[SNAPSHOT]) if source.snapshot is None else source.snapshot
    age = snapshot - number_months(columns[ISSUED])
    terms = number_texts(columns["term"], _parse_term, np.nan)
    return pa.array(np.minimum(np.where(age >= 0, age, np.nan), terms), from_pandas=True)


def _parse_term(text: bytes) -> float:
    term = find_level(_TERM, text.decode(errors="replace"))
    return np.nan if term is None else TERM_MONTHS[term]
