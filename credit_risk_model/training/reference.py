"""Describes the training's loans, which service and monitoring compare later loans with."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from credit_risk_model.drift.reference import SCORE, ZONE, Bins, Reference
from credit_risk_model.features import AGE, AGE_KNOWN, AGE_UNKNOWN, CONTRACT_FEATURES, Feature, FeatureSet
from credit_risk_model.training.fitting import Answers, Probabilities, is_running

MAX_BINS = 10
MIN_SHARE = 0.05
"""Smallest share of the reference's loans in a bin of a field or of the probability."""
MIN_LOANS = 1000
"""With fewer running loans, the reference describes all loans."""
NEAR = 8.0
"""A probability is near the cut-off if the odds of the two differ by less than this factor."""


def make_references(
    training: pd.DataFrame, test: pd.DataFrame, answers: Answers, cut_off: float
) -> tuple[Reference, ...]:
    """Describe the training's loans, once with their age and once with it withheld.

    Args:
        training: The training set, whose fields are described.
        test: The test set.
        answers: The fitted models' probabilities for the test set. On their training loans they are overconfident, and
            models fitted on a part of these have other distributions.
        cut_off: A loan is risky from this probability on.
    """
    known = test[AGE].notna().to_numpy()
    described = (
        _describe(training[training[AGE].notna()], test[known], answers.known[known], cut_off, AGE_KNOWN),
        _describe(training, test, answers.withheld, cut_off, AGE_UNKNOWN),
    )
    return tuple(reference for reference in described if reference is not None)


def tabulate_references(references: Sequence[Reference]) -> pd.DataFrame:
    """Make a table of the references' bins, with the shares of loans with and without their age."""
    shares = {
        f"share, age {reference.age}": {
            (bins.feature, f"{place}: {name}"): share
            for bins in reference.bins
            for place, (name, share) in enumerate(zip(bins.names, bins.shares, strict=True), start=1)
        }
        for reference in references
    }
    return pd.DataFrame(shares).rename_axis(["feature", "bin"]).round(3)


def _describe(
    training: pd.DataFrame, test: pd.DataFrame, probability: Probabilities, cut_off: float, wanted: FeatureSet
) -> Reference | None:
    """Describe loans; return None if there are too few to compare with."""
    running = is_running(training), is_running(test)
    of_running = min(rows.sum() for rows in running) >= MIN_LOANS
    if of_running:
        training, probability = training[running[0]], probability[running[1]]
    if len(probability) < 2:
        return None
    fields = [_cut_field(training, field) for field in CONTRACT_FEATURES if field.name != AGE or wanted is AGE_KNOWN]
    bins = [found for found in fields if found is not None]
    deviation = float(probability.std(ddof=1))
    if len(bins) < 2 or not deviation:
        return None
    of_score = cut_numbers(SCORE, probability), _cut_by_zone(probability, cut_off)
    return Reference(
        age="known" if wanted is AGE_KNOWN else "unknown",
        population="running" if of_running else "all",
        bins=(*bins, *(found for found in of_score if found is not None)),
        mean=float(probability.mean()),
        deviation=deviation,
        scored=len(probability),
    )


def _cut_field(loans: pd.DataFrame, field: Feature) -> Bins | None:
    if field.levels:
        return cut_levels(field, loans[field.name])
    return cut_numbers(field.name, loans[field.name].to_numpy(float), nullable=field.nullable and field.name != AGE)


def cut_numbers(name: str, values: npt.NDArray[np.float64], *, nullable: bool = False) -> Bins | None:
    """Cut numbers into at most `MAX_BINS` bins of at least `MIN_SHARE` each; return None if only one bin is left.

    A frequent value gets its own bin if the values below it suffice for a bin, too. Nulls belong to the lowest bin. If
    there are enough of them, they get their own bin, the last one.
    """
    known = values[~np.isnan(values)]
    distinct, counts = np.unique(known, return_counts=True)
    missing = len(values) - len(known)
    minimum, usual = MIN_SHARE * len(values), len(values) / MAX_BINS
    apart = nullable and missing >= minimum
    edges, sizes = [], [0 if apart else missing]
    rest = len(known)
    for value, count, following in zip(distinct.tolist(), counts.tolist(), [*counts[1:].tolist(), 0], strict=True):
        sizes[-1] += count
        rest -= count
        if rest >= minimum and (sizes[-1] >= usual or (sizes[-1] >= minimum and following >= usual)):
            edges.append(value)
            sizes.append(0)
    while len(sizes) + apart > MAX_BINS:
        smallest = min(range(len(edges)), key=lambda place: sizes[place] + sizes[place + 1])
        del edges[smallest]
        sizes[smallest] += sizes.pop(smallest + 1)
    sizes += [missing] * apart
    place_of_missing = (len(sizes) - 1 if apart else 0) if nullable else None
    return _describe_bins(name, sizes, edges=edges, missing=place_of_missing)


def cut_levels(field: Feature, values: pd.Series) -> Bins | None:
    """Make a bin for each level with a share of `MIN_SHARE` or more.

    All other levels and null share the last bin. If that is too small, it is merged with the smallest other one.
    """
    counts = values.value_counts(dropna=True).reindex(field.levels, fill_value=0)
    minimum = MIN_SHARE * len(values)
    common = counts[counts >= minimum].sort_values(ascending=False, kind="stable")
    rare = [level for level in field.levels if level not in common.index]
    levels, sizes = [[level] for level in common.index], common.tolist()
    if rare or field.nullable:
        levels.append(rare)
        sizes.append(len(values) - sum(sizes))
    if len(sizes) > 1 and sizes[-1] < minimum:
        few, rare = sizes.pop(), levels.pop()
        sizes[-1] += few
        levels[-1] += rare
    return _describe_bins(field.name, sizes, levels=levels, missing=len(sizes) - 1 if field.nullable else None)


def _cut_by_zone(probability: Probabilities, cut_off: float) -> Bins | None:
    odds = cut_off / (1 - cut_off)
    edges = [odds / NEAR / (1 + odds / NEAR), odds * NEAR / (1 + odds * NEAR)]
    sizes = np.bincount(np.searchsorted(edges, probability), minlength=3).tolist()
    return _describe_bins(ZONE, sizes, edges=edges)


def _describe_bins(
    name: str,
    sizes: list[int],
    *,
    edges: Sequence[float] = (),
    levels: Sequence[Sequence[str]] = (),
    missing: int | None = None,
) -> Bins | None:
    loans = sum(sizes)
    if len(sizes) < 2 or not min(sizes):
        return None
    shares = [size / loans for size in sizes]
    return Bins(
        feature=name,
        edges=tuple(edges),
        levels=tuple(tuple(each) for each in levels),
        missing=missing,
        shares=tuple(shares),
        loans=loans,
    )
