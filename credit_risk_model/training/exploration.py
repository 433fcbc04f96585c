"""Makes the data exploration report: HTML that holds aggregates and never a borrower's row.

`reports` defines what a report may show. The profile reads all rows.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Mapping
from typing import Any

import pandas as pd

from credit_risk_model.training.free_text import MAX_LEVELS, list_text_columns, refuse_free_text
from credit_risk_model.training.known_warnings import ignore_known_warnings

# Without this, the library reports each use to its vendor.
os.environ["YDATA_PROFILING_NO_ANALYTICS"] = "True"

with warnings.catch_warnings():
    # It imports pkg_resources, which setuptools 67 to 80 deprecates.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated as an API")
    warnings.filterwarnings("ignore", message=r"Deprecated call to `pkg_resources\.declare_namespace")
    from data_profiling import ProfileReport
    from data_profiling.report.presentation.core import Container
    from data_profiling.report.presentation.core.renderable import Renderable


def profile_loans(loans: pd.DataFrame, descriptions: Mapping[str, str], title: str) -> str:
    """Make the data exploration report: each column's statistics, histogram or levels, with the meaning of each field.

    Correlations, interactions, samples and duplicates are left out: they are the most expensive parts, or show rows.

    Args:
        loans: Any columns; non-numeric ones are treated as categories.
        descriptions: Meaning by column name; names that are not in the table are ignored.
        title: The page's heading.

    Returns:
        One HTML page, 1 to 2 MB, that loads nothing from a network.

    Raises:
        DataError: A non-numeric column has more levels than a category may have.
    """
    refuse_free_text(loans)
    report = ProfileReport(
        loans.astype(dict.fromkeys(list_text_columns(loans), "category")),
        title=title,
        minimal=True,
        progress_bar=False,
        samples=None,
        duplicates=None,
        n_freq_table_max=MAX_LEVELS,
        vars={"num": {"low_categorical_threshold": 0}},
        variables={"descriptions": {name: text for name, text in descriptions.items() if name in loans.columns}},
    )
    # One bar of the profiler ignores `progress_bar`.
    with contextlib.redirect_stderr(io.StringIO()):
        description = report.get_description()
    for statistics in description.variables.values():
        _forget_values(statistics)
    _drop_items(report.report.content["body"], {"Common values", "Extreme values", "Sample"})
    with ignore_known_warnings():
        html: str = report.to_html()
    return html


def _forget_values(statistics: dict[str, Any]) -> None:
    """Remove the values of single borrowers from a column's statistics, so that no page can show them."""
    if "first_rows" in statistics:
        statistics["first_rows"] = {}
    statistics["value_counts_index_sorted"] = pd.Series(dtype="int64")
    if statistics["type"] != "Categorical":
        statistics["value_counts_without_nan"] = pd.Series(dtype="int64")


def _drop_items(section: Renderable, names: set[str]) -> None:
    """Remove the named tables, which are now empty, from a section of the profile, at any depth."""
    if isinstance(section, Container):
        section.content["items"] = [item for item in section.content["items"] if item.content.get("name") not in names]
    for part in section.content.values():
        for child in part if isinstance(part, list) else [part]:
            if isinstance(child, Renderable):
                _drop_items(child, names)
