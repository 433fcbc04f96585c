"""Predictions for a checked table of loans: the same bits as for single loans, but for many at once.

This module needs NumPy and Arrow, so the served models do not import it.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from credit_risk_model.archive import Archive, LoadedModel
from credit_risk_model.drift.counting import Counted, Counts
from credit_risk_model.drift.reference import SCORE, ZONE
from credit_risk_model.features import AGE
from credit_risk_model.schemas import Caution
from credit_risk_model.tables.checking import CheckedLoans, Mask
from credit_risk_model.tables.texts import Array

_CAUTIONS = tuple(
    of_age + outside
    for of_age in ((), (Caution.INSTALMENTS_DUE_MISSING,), (Caution.INSTALMENTS_DUE_UNUSED,))
    for outside in ((), (Caution.OUTSIDE_TRAINING_RANGE,))
)
"""All combinations of cautions, each in the service's order."""
_MISSING, _UNUSED, _OUTSIDE = 2, 4, 1  # offsets into `_CAUTIONS`, which are added up

CAUTION_TEXTS = pa.array([";".join(caution.value for caution in found) for found in _CAUTIONS])
"""The combinations as text, by the codes that `predict_table` returns."""


def predict_table(archive: Archive, checked: CheckedLoans) -> tuple[Array, npt.NDArray[np.int8]]:
    """Compute the accepted loans' probabilities, and their cautions as indexes into `CAUTION_TEXTS`."""
    with_age, without_age = archive.with_age, archive.without_age
    known = ~np.isnan(checked.columns[AGE])
    by_age = known & (with_age is not None)
    probability = np.empty(len(known))
    cautions = np.where(by_age, 0, np.where(known, _UNUSED, _MISSING)).astype(np.int8)
    for model, chosen in ((with_age, by_age), (without_age, ~by_age)):
        if model is not None and chosen.any():
            columns = checked.model_columns(model.features, chosen)
            probability[chosen] = model.booster.predict_rows(np.column_stack(columns).data)
            cautions[chosen] += _OUTSIDE * _find_outside(columns, model)
    return probability, cautions


def _find_outside(columns: list[Array], model: LoadedModel) -> Mask:
    """Find loans with a value outside the training range, as `LoadedModel.is_outside_training_range` does."""
    outside = np.zeros(len(columns[0]), dtype=bool)
    for values, minimum, maximum in zip(columns, model.minima, model.maxima, strict=True):
        if minimum > -np.inf or maximum < np.inf:
            outside |= (values < minimum) | (values > maximum)
    return outside


def largest_in_training(archive: Archive) -> dict[str, float]:
    """Return each field's largest value in training."""
    model = archive.without_age  # has all fields
    return dict(zip(model.features.names, model.maxima, strict=True))


def count_cautions(cautions: npt.NDArray[np.int8]) -> Counter[str]:
    """Count each caution in the codes that `predict_table` returns."""
    counts = np.bincount(cautions, minlength=len(_CAUTIONS)).tolist()
    total: Counter[str] = Counter()
    for found, count in zip(_CAUTIONS, counts, strict=True):
        for caution in found:
            total[caution.value] += count
    return total


def count_loans(archive: Archive, checked: CheckedLoans, probability: Array) -> Counts:
    """Count the accepted loans in the bins of the archive's references, separately for known and unknown age."""
    columns = {**checked.columns, SCORE: probability, ZONE: probability}
    known = ~np.isnan(checked.columns[AGE]) & (archive.with_age is not None)
    counts: Counts = {}
    for reference in archive.metadata.reference:
        chosen = known if reference.age == "known" else ~known
        rows = slice(None) if chosen.all() else chosen
        found = [bins.count_values(columns[bins.feature][rows]) for bins in reference.bins]
        counts[reference.age] = Counted(found, float(probability[rows].sum()), int(chosen.sum()))
    return counts


def add_counts(counts: Counts, more: Counts) -> Counts:
    """Add the counts of two tables; the first may be empty."""
    return {age: counts[age] + counted if age in counts else counted for age, counted in more.items()}
