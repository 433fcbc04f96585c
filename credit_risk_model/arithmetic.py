"""Arithmetic of a loan: how its terms, its payments and its age relate.

It uses only +, -, *, /, % and floor. These give the same bits for Python floats and NumPy arrays on every machine
(powers and logarithms do not). Training, files and the service all use these functions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, nan
from typing import Any

TWENTIETHS = 20.0
"""Steps per instalment: if the age is known, payments are rounded to twentieths, so a dollar can't flip a decision.

A payment on time is a whole number of instalments, which lies in the middle of a step.
"""
HUNDREDTHS = 100.0
UNPAID = 0.1
"""Fraction of an instalment: once all are due, a loan counts as paid if less than this is missing."""


def compute_instalment(amount: Any, rate: Any, sixty_months: Any) -> Any:
    """Compute the monthly payment of an annuity."""
    monthly_rate = rate / 1200.0
    growth = 1.0 + monthly_rate
    growth_4 = growth * growth * growth * growth
    growth_12 = growth_4 * growth_4 * growth_4
    growth_24 = growth_12 * growth_12
    # Over 36 months, plus 24 if the term is 60.
    growth_over_term = growth_24 * growth_12 * (1.0 + sixty_months * (growth_24 - 1.0))
    return amount * monthly_rate * growth_over_term / (growth_over_term - 1.0)


def derive_without_age(amount: Any, rate: Any, sixty_months: Any, last_payment: Any, payments: Any) -> tuple[Any, ...]:
    """Derive the features that relate the loan's terms and payments.

    Args:
        amount: Loan amount in US dollars, above 0.
        rate: Interest rate in percent a year, above 0.
        sixty_months: 1.0 for a term of 60 months, 0.0 for 36.
        last_payment: Last payment in US dollars.
        payments: Payments to date in US dollars.

    Returns:
        The derived features of `AGE_UNKNOWN` in their order: floats for floats, arrays for arrays, with the same bits.
    """
    instalment = compute_instalment(amount, rate, sixty_months)
    payments_in_instalments = payments / instalment
    return (
        payments_in_instalments,
        payments_in_instalments / (36.0 + sixty_months * 24.0),
        payments / amount,
        last_payment / instalment,
        (payments - last_payment) / instalment,
        payments_in_instalments % 1.0,
    )


@dataclass(frozen=True, slots=True)
class Numbers:
    """Operations that differ between floats and arrays.

    Attributes:
        floor: Rounds down to a whole number.
        keep_where: Keeps six numbers if a condition holds, and otherwise makes them NaN.
    """

    floor: Callable[[Any], Any]
    keep_where: Callable[..., tuple[Any, ...]]


def derive_with_age(  # noqa: PLR0917  # positional arguments are faster, and each prediction calls this
    amount: Any, rate: Any, sixty_months: Any, last_payment: Any, payments: Any, due: Any, numbers: Numbers
) -> tuple[Any, ...]:
    """Derive the features that relate the loan's terms, its payments and its age.

    Args:
        amount: Loan amount in US dollars, above 0.
        rate: Interest rate in percent a year, above 0.
        sixty_months: 1.0 for a term of 60 months, 0.0 for 36.
        last_payment: Last payment in US dollars.
        payments: Payments to date in US dollars.
        due: Number of instalments due, from 0 to the term's.
        numbers: `FLOATS` for floats, `numbers_of_arrays()` for arrays.

    Returns:
        The derived features of `AGE_KNOWN` in their order, as `derive_without_age` does.
    """
    floor = numbers.floor
    instalment = compute_instalment(amount, rate, sixty_months)
    paid = payments / instalment
    earlier = (payments - last_payment) / instalment
    last = last_payment / instalment
    repaid = payments / amount
    rounded_last = floor(last * TWENTIETHS + 0.5) / TWENTIETHS
    rounded_paid = floor(paid * TWENTIETHS + 0.5) / TWENTIETHS
    months = 36.0 + sixty_months * 24.0
    none_due = due < 1.0
    return (
        floor((due - paid) * TWENTIETHS + 0.5) / TWENTIETHS,
        floor((due - earlier) * TWENTIETHS + 0.5) / TWENTIETHS,
        floor((paid + none_due) / (due + none_due) * HUNDREDTHS + 0.5) / HUNDREDTHS,
        floor(repaid * HUNDREDTHS + 0.5) / HUNDREDTHS,
        rounded_last,
        abs(rounded_last - 1.0),
        abs(rounded_paid - floor(rounded_paid + 0.5)),
        *numbers.keep_where(
            (due >= months) & (paid < months - UNPAID), last, repaid, paid % 1.0, earlier, last_payment, payments
        ),
    )


_NONE_OF_SIX = (nan,) * 6
FLOATS = Numbers(floor, lambda condition, *six: six if condition else _NONE_OF_SIX)
"""Operations for a single loan."""


def numbers_of_arrays() -> Numbers:
    """Return the operations for arrays. NumPy is imported here, since the service does not have it."""
    import numpy as np  # noqa: PLC0415

    return Numbers(np.floor, lambda condition, *six: tuple(np.where(condition, each, nan) for each in six))
