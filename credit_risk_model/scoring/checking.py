"""The contract's rules for a table of loans: what a request would be refused for, a row is rejected for.

`CreditRiskModelInput` says the same of one loan; the tests hold that both agree on any value.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model.features import CONTRACT_FEATURES, FEATURES, Feature, derived_columns
from credit_risk_model.schemas import CreditRiskModelInput, Term

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rules = list[tuple[str, Mask]]

MISSING_TEXTS = ("", "n/a", "NaN", "nan", "NA")
"""What stands in files for a value that is not there; `NONE` is a home ownership, though none that the contract has."""

_WHOLE = {name for name, field in CreditRiskModelInput.model_fields.items() if field.annotation is int}
_UNKNOWN, _MISSING = -1.0, -2.0


@dataclass(frozen=True, slots=True)
class CheckedLoans:
    """A table of loans by the contract.

    Attributes:
        good: Which rows keep the contract.
        rows: The good ones as the model's rows, shape (good rows, features).
        reasons: What is wrong with each of the others, by row, counted from 0.
        counts: How many rows each reason holds for.
    """

    good: Mask
    rows: Array
    reasons: dict[int, list[str]]
    counts: Counter[str]


def check(loans: pa.Table) -> CheckedLoans:
    """Apply the contract to each row, and turn those that keep it into the model's rows.

    Args:
        loans: The contract's fields by name: numbers of any type, text as such or as a dictionary.
    """
    columns: dict[str, Array] = {}
    reasons: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    for feature in CONTRACT_FEATURES:
        read = _read_levels if feature.levels else _read_numbers
        columns[feature.name], broken = read(feature, loans[feature.name].combine_chunks())
        for rule, rows in broken:
            reason = f"{feature.name}: {rule}"
            counts[reason] = int(rows.sum())
            for row in np.flatnonzero(rows).tolist():
                reasons.setdefault(row, []).append(reason)
    good = np.ones(loans.num_rows, dtype=bool)
    good[list(reasons)] = False
    if reasons:
        columns = {name: column[good] for name, column in columns.items()}
    return CheckedLoans(good, _model_rows(columns), reasons, counts)


def _read_numbers(feature: Feature, column: pa.Array) -> tuple[Array, Rules]:
    """Give the numbers, and the rules that some of them break; a number breaks one at most."""
    # Unsafe only in that a whole number beyond 2**53, which no field allows, may lose digits.
    numbers = pc.cast(column, pa.float64(), safe=False).fill_null(np.nan).to_numpy()
    smallest, largest = feature.bounds or (-np.inf, np.inf)
    allowed = (numbers >= smallest) & (numbers <= largest)
    if feature.name in _WHOLE:
        allowed &= numbers == np.floor(numbers)
        numbers = numbers + 0.0  # a whole number has no negative zero
    if allowed.all():
        return numbers, []
    missing = column.is_null().to_numpy(zero_copy_only=False)
    finite = np.isfinite(numbers)
    rules = [
        ("missing", missing),
        ("not a finite number", ~finite & ~missing),
        ("not a whole number", finite & (numbers != np.floor(numbers)) & (feature.name in _WHOLE)),
        (f"below {smallest}", finite & (numbers < smallest)),
        (f"above {largest}", finite & (numbers > largest)),
    ]
    return numbers, _first_broken(rules)


def _read_levels(feature: Feature, column: pa.Array) -> tuple[Array, Rules]:
    """Give the levels' codes, and the rules that some of them break."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes: dict[bytes | None, float] = {level.encode(): float(code) for code, level in enumerate(feature.levels)}
    codes |= dict.fromkeys((None, *(text.encode() for text in MISSING_TEXTS)), _MISSING)
    texts = pc.cast(column.dictionary, pa.binary()).to_pylist()
    code_of_text = np.array([*(codes.get(text, _UNKNOWN) for text in texts), _MISSING])
    found = code_of_text[column.indices.fill_null(len(texts)).to_numpy()]
    if (found >= 0).all():
        return found, []
    return found, _first_broken([("missing", found == _MISSING), ("unknown level", found == _UNKNOWN)])


def _first_broken(rules: Rules) -> Rules:
    """Leave each row only the first of the rules that it breaks, and drop rules that none breaks."""
    left = []
    before = np.zeros(len(rules[0][1]), dtype=bool)
    for rule, rows in rules:
        first = rows & ~before
        before |= first
        if first.any():
            left.append((rule, first))
    return left


def _model_rows(columns: dict[str, Array]) -> Array:
    """Give the model's matrix of loans that keep the contract; categories are given as codes."""
    terms = np.array([term.value for term in Term])[columns["term"].astype(np.intp)]
    columns = columns | derived_columns(columns | {"term": terms})
    return np.column_stack([columns[feature.name] for feature in FEATURES])
