"""The age of the loans in a file: `loan_age` has the rule, which is applied to whole columns here."""

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
    """Say whether months can be read from a column of this type: text, dates, timestamps, or nothing at all."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_timestamp(kind):
        try:
            pc.year(pa.array([0], kind))
        except pa.ArrowException:  # its time zone is not known here
            return False
    return bool(is_text(kind) or pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_null(kind))


def number_months(column: pa.Array) -> Array:
    """Number the months of a column as `loan_age` counts them; NaN for what is no month.

    Args:
        column: Text such as Dec-2011, dates or timestamps, as such or as a dictionary. A timestamp with a time zone
            lies in the month of that zone.
    """
    kind = column.type
    if pa.types.is_dictionary(kind) and pa.types.is_temporal(kind.value_type):
        column = column.dictionary_decode()
    if pa.types.is_temporal(column.type):
        months = pc.add(pc.multiply(pc.year(column), 12), pc.subtract(pc.month(column), 1))
        return np.asarray(pc.cast(months, pa.float64()).fill_null(np.nan).to_numpy())
    return number_texts(column, _number_month, np.nan)


def _number_month(text: bytes) -> float:
    month = parse_month(text.decode(errors="replace"))
    return np.nan if month is None else month


def find_latest(column: pa.Array) -> int | None:
    """Find the latest month of a column; None where no value is a month."""
    months = number_months(column)
    return None if np.isnan(months).all() else int(np.nanmax(months))


def compute_due(columns: Mapping[str, pa.Array], source: AgeSource) -> pa.Array:
    """Compute the instalments due from months: null where they are not known, or the term is none.

    Args:
        columns: `term`, the month of issue, and the month of each loan's snapshot where the source asks for it.
        source: Where the age comes from; it must be one that is computed.
    """
    snapshot = number_months(columns[SNAPSHOT]) if source.snapshot is None else source.snapshot
    age = snapshot - number_months(columns[ISSUED])
    terms = number_texts(columns["term"], _months_of_term, np.nan)
    return pa.array(np.minimum(np.where(age >= 0, age, np.nan), terms), from_pandas=True)


def _months_of_term(text: bytes) -> float:
    term = find_level(_TERM, text.decode(errors="replace"))
    return np.nan if term is None else TERM_MONTHS[term]
