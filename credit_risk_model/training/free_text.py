"""Refuses columns of free text: reports may show categories, but not a borrower's own words."""

import pandas as pd

from credit_risk_model.errors import DataError

MAX_LEVELS = 50
"""Most levels of a category that a report may name. The contract's longest enum has 14; free text has far more."""


def list_text_columns(table: pd.DataFrame) -> list[str]:
    """List the non-numeric columns."""
    return [column for column in table.columns if not pd.api.types.is_numeric_dtype(table[column])]


def refuse_free_text(table: pd.DataFrame) -> None:
    """Refuse a table with a column of free text.

    Raises:
        DataError: A non-numeric column has more levels than a category may have.
    """
    for column in list_text_columns(table):
        levels = table[column].nunique()
        if levels > MAX_LEVELS:
            raise DataError(
                f"The column '{column}' has {levels} different texts, but a category may have only {MAX_LEVELS}. The "
                "reports would show borrowers' own words. Drop the column before making them."
            )
