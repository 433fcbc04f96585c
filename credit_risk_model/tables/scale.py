"""Columns in another unit than the contract's: fractions for percents, thousands of dollars for dollars.

They lie within the contract's bounds, so that no row is rejected. What tells them apart is that nearly all their values
lie below a hundredth or a thousandth of the largest in training, which no book of loans does.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from credit_risk_model.errors import DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.tables.numbers import IN_PERCENT
from credit_risk_model.tables.texts import Array

_LEAST_VALUES = 5
"""A few loans may all have small values."""
_MOST_ABOVE = 0.05
"""Share of the values that may lie above, without saying that the unit is right."""

FACTORS = {
    feature.name: 100 if feature.name in IN_PERCENT else 1000
    for feature in CONTRACT_FEATURES
    if feature.bounds and feature.bounds[0] == 0 and not feature.whole
}
"""How many times too small the values of a field may be without breaking the contract."""

_VALUES, _ABOVE = "values", "above"


def count_small_values(columns: Mapping[str, Array], largest: Mapping[str, float]) -> Counter[tuple[str, str]]:
    """Count for each field of `FACTORS` the values above 0, and those of them that can't be in another unit.

    Args:
        columns: The fields' numbers; NaN for what is not known.
        largest: Each field's largest value in training.

    Returns:
        Numbers that can be added up over the chunks of a file.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for name, factor in FACTORS.items():
        counts[name, _VALUES] = int((columns[name] > 0).sum())
        counts[name, _ABOVE] = int((columns[name] > largest[name] / factor).sum())
    return counts


def refuse_wrong_scales(table: str, counts: Mapping[tuple[str, str], int], accepted: Iterable[str], cure: str) -> None:
    """Refuse fields whose values are in another unit.

    Args:
        table: What the table is called in the error.
        counts: What `count_small_values` counted.
        accepted: Fields that are accepted as they are.
        cure: How a field is accepted; `{}` stands for its name.

    Raises:
        DataError: There are such fields.
    """
    if wrong := find_wrong_scales(counts, accepted):
        columns = ", ".join(f"{name} (by about {FACTORS[name]:,})" for name in wrong)
        raise DataError(
            f"{table}: nearly all values are too small for the unit of {columns}: fractions for percents, or thousands "
            "of dollars for dollars. Nothing was scored: mend the columns, or accept them as they are with "
            f"{' '.join(cure.format(name) for name in wrong)}."
        )


def find_wrong_scales(counts: Mapping[tuple[str, str], int], accepted: Iterable[str] = ()) -> list[str]:
    """Name the fields whose values are in another unit, but for those that are accepted as they are."""
    return [
        name
        for name in FACTORS
        if name not in accepted
        and counts[name, _VALUES] >= _LEAST_VALUES
        and counts[name, _ABOVE] <= _MOST_ABOVE * counts[name, _VALUES]
    ]
