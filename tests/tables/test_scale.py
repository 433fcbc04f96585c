import numpy as np
import pytest

from credit_risk_model.errors import DataError
from credit_risk_model.tables.scale import FACTORS, count_small_values, find_wrong_scales, refuse_wrong_scales

DTI, LAST, REVOLVING, TOTAL = FACTORS
LARGEST = {DTI: 40.0, LAST: 36_000.0, REVOLVING: 100.0, TOTAL: 58_000.0}
RIGHT = {DTI: 17.2, LAST: 407.0, REVOLVING: 54.0, TOTAL: 5294.0}


def wrong_scales(rows: int = 100, **divided: float) -> list[str]:
    """What is found wrong where the values of fields are divided, half of them in one chunk, half in another."""
    rng = np.random.default_rng(0)
    columns = {name: value * rng.uniform(0.2, 1.5, rows) / divided.get(name, 1) for name, value in RIGHT.items()}
    halves = [{name: column[part::2] for name, column in columns.items()} for part in (0, 1)]
    counts = [count_small_values(half, LARGEST) for half in halves]
    return find_wrong_scales(counts[0] + counts[1])


@pytest.mark.parametrize(("name", "factor"), FACTORS.items())
def test_other_unit_is_found(name: str, factor: int) -> None:
    """Fractions for percents, and thousands of dollars for dollars, are found; each by itself and all together."""
    assert wrong_scales() == []
    assert wrong_scales(**{name: factor}) == [name]
    assert wrong_scales(**FACTORS) == list(FACTORS)


def test_drift_is_no_other_unit() -> None:
    """A book whose values are a few times smaller than in training is another book, not another unit."""
    assert wrong_scales(**dict.fromkeys(FACTORS, 5)) == []


def test_few_values_say_nothing() -> None:
    """Four loans may all have small values, and so may a book of loans without a payment."""
    assert wrong_scales(rows=4, **FACTORS) == []
    none_paid = {name: np.zeros(1000) for name in FACTORS} | {DTI: np.full(1000, np.nan)}
    assert find_wrong_scales(count_small_values(none_paid, LARGEST)) == []


def test_single_values_do_not_hide_the_others() -> None:
    """One value in twenty may be large, since some borrowers owe more than they earn."""
    columns = {name: np.full(1000, value) for name, value in RIGHT.items()}
    columns[DTI] = np.where(np.arange(1000) < 50, 39.0, 0.172)
    assert find_wrong_scales(count_small_values(columns, LARGEST)) == [DTI]
    columns[DTI] = np.where(np.arange(1000) < 51, 39.0, 0.172)
    assert find_wrong_scales(count_small_values(columns, LARGEST)) == []


def test_accepted_field_is_not_named() -> None:
    """What is accepted as it is, is not found."""
    columns = {name: np.full(10, value / FACTORS[name]) for name, value in RIGHT.items()}
    assert find_wrong_scales(count_small_values(columns, LARGEST), [DTI, TOTAL]) == [LAST, REVOLVING]


def test_refusal_names_fields_factors_and_cure() -> None:
    """The error names each field with its factor, and how each is accepted; right units and accepted ones pass."""
    columns = {name: np.full(10, value / FACTORS[name]) for name, value in RIGHT.items()}
    counts = count_small_values(columns, LARGEST)
    with pytest.raises(DataError) as raised:
        refuse_wrong_scales("loans.csv", counts, [LAST, REVOLVING], "--accept {}")
    assert str(raised.value) == (
        "loans.csv: nearly all values are too small in debt_to_income_ratio (by about 100), total_payments_to_date (by "
        "about 1,000): fractions instead of percents, or thousands of dollars instead of dollars. Nothing was scored. "
        "Fix the columns, or accept them unchanged with --accept debt_to_income_ratio --accept total_payments_to_date."
    )
    refuse_wrong_scales("loans.csv", counts, FACTORS, "--accept {}")
    right = {name: np.full(10, value) for name, value in RIGHT.items()}
    refuse_wrong_scales("loans.csv", count_small_values(right, LARGEST), [], "--accept {}")
