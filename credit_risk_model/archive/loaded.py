"""An archive that was read and verified, ready to predict."""

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
        minima, maxima: Ends of the training's range, one for each feature; infinite where there is none.
        contract: What the loans that it answers keep.
        may_fall_below, may_exceed: Places in a row and the training's ends, of the features whose bounds allow values
            beyond them. Those are half of all, and the check is made for each loan.
    """

    features: features.FeatureSet
    booster: Booster
    minima: tuple[float, ...]
    maxima: tuple[float, ...]
    contract: Contract
    may_fall_below: tuple[tuple[int, float], ...] = field(init=False)
    may_exceed: tuple[tuple[int, float], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find the ends that a loan within the contract can be beyond."""
        fields = self.contract.bounds
        bounds = [fields.get(feature.name, feature.bounds) or (-inf, inf) for feature in self.features.features]
        below = tuple((place, end) for place, end in enumerate(self.minima) if end > bounds[place][0])
        above = tuple((place, end) for place, end in enumerate(self.maxima) if end < bounds[place][1])
        object.__setattr__(self, "may_fall_below", below)
        object.__setattr__(self, "may_exceed", above)

    def is_outside_training_range(self, row: Sequence[float]) -> bool:
        """Say whether a value lies outside all that the model saw in training; NaN, not known, lies nowhere."""
        for place, most in self.may_exceed:
            if row[place] > most:
                return True
        for place, least in self.may_fall_below:  # noqa: SIM110  # any() takes longer than all the comparisons
            if row[place] < least:
                return True
        return False

    @property
    def names_that_may_lie_outside(self) -> set[str]:
        """Names of the features whose bounds allow values beyond the training's."""
        return {self.features.names[place] for place, _ in (*self.may_fall_below, *self.may_exceed)}

    def places_outside(self, row: Sequence[float]) -> list[int]:
        """Give the places of the values that lie outside all that the model saw in training."""
        ends = zip(row, self.minima, self.maxima, strict=True)
        return [place for place, (value, least, most) in enumerate(ends) if value < least or value > most]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Archive:
    """A verified archive, ready to predict.

    Attributes:
        sha256: Digest of the whole file, in hexadecimal.
        with_age: Answers loans whose age is known; None where the loans of the training had none.
        without_age: Answers the others.
    """

    sha256: str
    metadata: Metadata
    with_age: LoadedModel | None
    without_age: LoadedModel
    golden: tuple[GoldenLoan, ...]

    def model_for(self, loan: CreditRiskModelInput) -> LoadedModel:
        """Choose the model that answers a loan."""
        if loan.instalments_due is None or self.with_age is None:
            return self.without_age
        return self.with_age

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """The models that there are."""
        return (self.without_age,) if self.with_age is None else (self.with_age, self.without_age)

    def features_outside(self, loan: CreditRiskModelInput) -> list[str]:
        """Name the features of a loan that lie outside all that the model which answers it saw in training."""
        model = self.model_for(loan)
        return [model.features.names[place] for place in model.places_outside(model.features.encode_loan(loan))]

    def evaluate(self, loan: CreditRiskModelInput) -> float:
        """Compute a loan's probability of being risky."""
        model = self.model_for(loan)
        return model.booster.predict_row(model.features.encode_loan(loan))
