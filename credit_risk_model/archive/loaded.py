"""A verified archive, ready to predict."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from credit_risk_model import features
from credit_risk_model.archive.format import GoldenLoan, Metadata
from credit_risk_model.booster import Booster
from credit_risk_model.contract import Contract
from credit_risk_model.schemas import CreditRiskModelInput


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One of the archive's two models, ready to predict.

    Attributes:
        minima, maxima: Range of each feature in training; infinite if there is none.
        contract: The contract that its loans satisfy.
        may_fall_below, may_exceed: Index and limit of each feature whose bounds allow values beyond the training
            range. Those are half of all features, and every loan is checked.
    """

    features: features.FeatureSet
    booster: Booster
    minima: tuple[float, ...]
    maxima: tuple[float, ...]
    contract: Contract
    may_fall_below: tuple[tuple[int, float], ...] = field(init=False)
    may_exceed: tuple[tuple[int, float], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find the training limits that a valid loan can exceed."""
        fields = self.contract.bounds
        bounds = [fields.get(feature.name, feature.bounds) or (-inf, inf) for feature in self.features.features]
        below = tuple((place, end) for place, end in enumerate(self.minima) if end > bounds[place][0])
        above = tuple((place, end) for place, end in enumerate(self.maxima) if end < bounds[place][1])
        object.__setattr__(self, "may_fall_below", below)
        object.__setattr__(self, "may_exceed", above)

    def is_outside_training_range(self, row: Sequence[float]) -> bool:
        """Return whether a value lies outside the training range; NaN (not known) never does."""
        for place, most in self.may_exceed:
            if row[place] > most:
                return True
        for place, least in self.may_fall_below:  # noqa: SIM110  # any() takes longer than all the comparisons
            if row[place] < least:
                return True
        return False

    @property
    def names_that_may_lie_outside(self) -> set[str]:
        """Names of the features whose bounds allow values outside the training range."""
        return {self.features.names[place] for place, _ in (*self.may_fall_below, *self.may_exceed)}

    def places_outside(self, row: Sequence[float]) -> list[int]:
        """Return the indexes of the values outside the training range."""
        ends = zip(row, self.minima, self.maxima, strict=True)
        return [place for place, (value, least, most) in enumerate(ends) if value < least or value > most]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Archive:
    """A verified archive, ready to predict.

    Attributes:
        sha256: Digest of the whole file, in hexadecimal.
        with_age: The model for loans whose age is known; None if the training loans had no age.
        without_age: The model for all others.
    """

    sha256: str
    metadata: Metadata
    with_age: LoadedModel | None
    without_age: LoadedModel
    golden: tuple[GoldenLoan, ...]

    def model_for(self, loan: CreditRiskModelInput) -> LoadedModel:
        """Return the model for a loan."""
        if loan.instalments_due is None or self.with_age is None:
            return self.without_age
        return self.with_age

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models of this archive."""
        return (self.without_age,) if self.with_age is None else (self.with_age, self.without_age)

    def features_outside(self, loan: CreditRiskModelInput) -> list[str]:
        """Return the names of a loan's features outside the training range of its model."""
        model = self.model_for(loan)
        return [model.features.names[place] for place in model.places_outside(model.features.encode_loan(loan))]

    def evaluate(self, loan: CreditRiskModelInput) -> float:
        """Compute the probability that a loan is risky."""
        model = self.model_for(loan)
        return model.booster.predict_row(model.features.encode_loan(loan))
