"""Detects columns in a wrong unit: fractions instead of percents, thousands of dollars instead of dollars.

Such values lie within the contract's bounds, so no row is rejected. But nearly all of them lie below a hundredth or a
thousandth of the largest value in training, which does not happen in a real book of loans.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from credit_risk_model.errors import DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.tables.numbers import IN_PERCENT
from credit_risk_model.tables.texts import Array

_MIN_VALUES = 5
"""With fewer values, all of them may be small by chance."""
_MAX_SHARE_ABOVE = 0.05
"""Largest share of values above the limit at which the unit still counts as wrong."""

FACTORS = {
    feature.name: 100 if feature.name in IN_PERCENT else 1000
    for feature in CONTRACT_FEATURES
    if feature.bounds and feature.bounds[0] == 0 and not feature.whole
}
"""The factor by which each field's values are too small in a wrong unit that the contract's bounds don't catch."""

_VALUES, _ABOVE = "values", "above"


def count_small_values(columns: Mapping[str, Array], largest: Mapping[str, float]) -> Counter[tuple[str, str]]:
    """Count the values above 0 of each field of `FACTORS`, and those too large to be in a wrong unit.

    Args:
        columns: The fields' numbers; NaN for unknown values.
        largest: Each field's largest value in training.

    Returns:
        Counts that can be summed over a file's chunks.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for name, factor in FACTORS.items():
        counts[name, _VALUES] = int((columns[name] > 0).sum())
        counts[name, _ABOVE] = int((columns[name] > largest[name] / factor).sum())
    return counts


def refuse_wrong_scales(table: str, counts: Mapping[tuple[str, str], int], accepted: Iterable[str], cure: str) -> None:
    """Refuse fields whose values are in a wrong unit.

    Args:
        table: The table's name for the error.
        counts: What `count_small_values` returned.
        accepted: Fields that the caller accepts unchanged.
        cure: The option that accepts a field; `{}` is replaced by its name.

    Raises:
        DataError: A field is in a wrong unit.
    """
    if wrong := find_wrong_scales(counts, accepted):
        columns = ", ".join(f"{name} (by about {FACTORS[name]:,})" for name in wrong)
        raise DataError(
            f"{table}: nearly all values are too small in {columns}: fractions instead of percents, or thousands of "
            "dollars instead of dollars. Nothing was scored. Fix the columns, or accept them unchanged with "
            f"{' '.join(cure.format(name) for name in wrong)}."
        )


def find_wrong_scales(counts: Mapping[tuple[str, str], int], accepted: Iterable[str] = ()) -> list[str]:
    """List the fields whose values are in a wrong unit, except for the accepted ones."""
    return [
        name
        for name in FACTORS
        if name not in accepted
        and counts[name, _VALUES] >= _MIN_VALUES
        and counts[name, _ABOVE] <= _MAX_SHARE_ABOVE * counts[name, _VALUES]
    ]
