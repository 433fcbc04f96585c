"""Columns of text: a category may be reported, a borrower's own words may not."""

import pandas as pd

from credit_risk_model.errors import DataError

MAX_LEVELS = 50
"""Reports name the levels of categories. The contract's longest enum has 14; what has far more is a borrower's text."""


def list_text_columns(table: pd.DataFrame) -> list[str]:
    """Name the columns that are not numbers."""
    return [column for column in table.columns if not pd.api.types.is_numeric_dtype(table[column])]


def refuse_free_text(table: pd.DataFrame) -> None:
    """Refuse a table that holds more texts than a category has.

    Raises:
        DataError: A column that is not a number has more levels than a category has.
    """
    for column in list_text_columns(table):
        levels = table[column].nunique()
        if levels > MAX_LEVELS:
            raise DataError(
                f"The column '{column}' has {levels} different texts, and a category may have {MAX_LEVELS}: the "
                "reports would show borrowers' own words. Drop the column before making them."
            )
