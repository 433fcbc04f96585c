"""Distribution of the training loans: bins of each field and of the probability, with the share of loans in each."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from credit_risk_model.features import AGE, CONTRACT_FEATURES

SCORE = "risk_probability"
ZONE = "cut_off_zone"
"""Additional bins of the probability: below, near and above the archive's cut-off."""
MEAN = "mean_risk_probability"
"""Tested like a field, but without bins."""
FIELDS = {feature.name: feature for feature in CONTRACT_FEATURES}

_MAX_NAMED = 3  # maximum number of levels in a bin's name


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bins(_Record):
    """Bins of one field or of the probability, with the reference's share of each."""

    feature: str
    edges: tuple[float, ...] = Field(
        description="Upper bounds of all bins but the last, inclusive; empty for a category."
    )
    levels: tuple[tuple[str, ...], ...] = Field(description="The levels of each bin; empty for a number.")
    missing: int | None = Field(description="Index of the bin for null; None if the field can't be null.")
    shares: tuple[float, ...] = Field(description="Share of the reference's loans in each bin.")
    loans: int = Field(ge=1, description="Number of the reference's loans.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        field = FIELDS.get(self.feature)
        if field is None and self.feature not in (SCORE, ZONE):
            raise ValueError(f"{self.feature[:80]} is not a field of the contract")
        of_values = len(self.levels) if field is not None and field.levels else len(self.edges) + 1
        if len(self.shares) < 2 or len(self.shares) != of_values + (not self.levels and self.missing == of_values):
            raise ValueError(f"{self.feature} has shares for a different number of bins")
        named = [level for levels in self.levels for level in levels]
        if sorted(named) != sorted(field.levels if field is not None else ()):
            raise ValueError(f"the levels of {self.feature} are not the contract's")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"the edges of {self.feature} do not increase")
        nullable = field is not None and field.nullable and self.feature != AGE
        if nullable != (self.missing is not None) or (nullable and not 0 <= (self.missing or 0) < len(self.shares)):
            raise ValueError(f"{self.feature} has no bin for null, or an invalid one")
        if min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"the shares of {self.feature} are not all above 0, or do not add up to 1")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Descriptions of the bins."""
        if self.levels:
            names = [_name_levels(levels) for levels in self.levels]
        elif self.feature == ZONE:
            names = ["below", "near", "above"]
        else:
            ends = [f"{edge:.6g}" for edge in self.edges]
            names = [f"up to {ends[0]}", *(f"over {low} to {high}" for low, high in pairwise(ends))]
            names.append(f"over {ends[-1]}")
        if self.missing == len(names):  # of numbers only: with levels, null shares a bin
            return (*names, "missing")
        if self.missing is not None:
            names[self.missing] = f"{names[self.missing]} or missing" if names[self.missing] else "missing"
        return tuple(names)

    @cached_property
    def place_known(self) -> Callable[[Any], int]:
        """Function that finds the bin of a number or of a level's code; in C, since every loan needs many."""
        if not self.levels:
            return partial(bisect_left, self.edges)
        order = FIELDS[self.feature].levels
        codes = {float(order.index(level)): place for place, levels in enumerate(self.levels) for level in levels}
        return codes.__getitem__

    def place(self, value: float | None) -> int:
        """Return the bin of a number, of a level's code, or of None."""
        if value is None and self.missing is not None:
            return self.missing
        return self.place_known(value)

    def count_values(self, values: Any) -> list[int]:
        """Count an array of values by bin: numbers or codes of levels, with NaN for null."""
        import numpy as np  # noqa: PLC0415  # only callers with arrays have NumPy; the service does not

        missing = np.count_nonzero(np.isnan(values))
        if self.levels:
            by_code = np.bincount(values[~np.isnan(values)].astype(np.intp)).tolist()
            counts = [0] * len(self.shares)
            for code, count in enumerate(by_code):
                counts[self.place_known(float(code))] += count
        else:
            # Comparing with each of the few edges is ten times as fast as a search for each value.
            above = [len(values) - missing, *(np.count_nonzero(values > edge) for edge in self.edges), 0]
            counts = [more - fewer for more, fewer in pairwise(above)]
            counts += [0] * (len(self.shares) - len(counts))
        if self.missing is not None:
            counts[self.missing] += missing
        return [int(count) for count in counts]


def _name_levels(levels: Sequence[str]) -> str:
    return " or ".join(map(str.strip, levels)) if len(levels) <= _MAX_NAMED else f"{len(levels)} rare levels"


class Reference(_Record):
    """Distribution of the training loans with known or with unknown age."""

    age: Literal["known", "unknown"]
    population: Literal["running", "all"] = Field(description="The training loans that were used.")
    bins: tuple[Bins, ...] = Field(
        description="Bins of fields, then of the probability; a field that hardly varies has none."
    )
    mean: float = Field(description="Mean probability.")
    deviation: float = Field(gt=0, description="Standard deviation of the probability.")
    scored: int = Field(ge=2, description="Number of loans behind mean and deviation.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [bins.feature for bins in self.bins]
        fields = [name for name in named if name in FIELDS]
        if named[: len(fields)] != fields or len(set(named)) != len(named) or len(fields) < 2:
            raise ValueError("expected the bins of at least two fields, and then those of the probability")
        return self
