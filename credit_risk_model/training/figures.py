"""A training's figures: frozen records that `metadata.json` stores unchanged."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Figures(BaseModel):
    """A record of figures. A figure that could not be measured is None or unset; unset ones are not stored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def store(self) -> dict[str, Any]:
        """Return the figures as a dict for JSON."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class Ranking(_Figures):
    """AUC and Brier score of probabilities."""

    auc: float
    brier: float


class RankingByLoans(_Figures):
    """Rankings of running loans and of all; unset if a class has too few loans to rank."""

    running: Ranking | None = None
    all: Ranking | None = None


class OutOfFoldFigures(_Figures):
    """Out-of-fold rankings of the training set.

    Attributes:
        age_known: With the loans' age; unset if no age is known.
        age_withheld: With every loan's age withheld.
    """

    age_known: RankingByLoans | None = None
    age_withheld: RankingByLoans | None = None

    def rankings(self) -> dict[tuple[str, str], Ranking]:
        """Return the rankings that are set, by answer (`age_known`, `age_withheld`) and loans (`running`, `all`)."""
        answers = {"age_known": self.age_known, "age_withheld": self.age_withheld}
        return {
            (answer, loans): ranking
            for answer, found in answers.items()
            if found is not None
            for loans, ranking in (("running", found.running), ("all", found.all))
            if ranking is not None
        }


class ByClass(_Figures):
    """A figure of each class."""

    safe: float
    risky: float


class DecisionFigures(_Figures):
    """Figures of decisions at a threshold; the confusion matrix has a row for each true class."""

    threshold: float
    precision: ByClass
    recall: ByClass
    f1: ByClass
    accuracy: float
    macro_f1: float
    confusion_matrix: tuple[tuple[int, int], tuple[int, int]]


class Evaluation(_Figures):
    """Figures of probabilities against labels.

    Attributes:
        ks: Kolmogorov-Smirnov: the largest distance between the classes' cumulative distributions.
        gini: 2 AUC - 1.
        brier: Mean squared error.
        calibration_error: Expected calibration error, over tenths of the loans.
    """

    rows: int
    risky_share: float
    mean_probability: float
    auc: float
    average_precision: float
    ks: float
    gini: float
    brier: float
    calibration_error: float
    at_half: DecisionFigures = Field(serialization_alias="at_0.5")
    at_cut_off: DecisionFigures


Interval = tuple[float, float]


class SegmentFigures(_Figures):
    """Figures of the model and the arrears rule (`rule_...`) on one segment of loans.

    Attributes:
        auc, f1: None if all loans are of one class.
        beats_rule: Whether the model has a higher AUC and a lower Brier score.
        auc_interval, brier_interval, f1_interval: 95 % bootstrap intervals; unset for large segments.
    """

    rows: int
    risky_share: float
    mean_probability: float
    auc: float | None
    brier: float
    f1: float | None
    rule_auc: float | None
    rule_brier: float
    rule_f1: float | None
    beats_rule: bool
    auc_interval: Interval | None = None
    brier_interval: Interval | None = None
    f1_interval: Interval | None = None


Segments = Mapping[str, SegmentFigures]
"""Figures by segment, running loans first."""


class Baseline(_Figures):
    """The figures of a model with default hyper-parameters."""

    name: str
    out_of_fold: OutOfFoldFigures
    test: dict[str, SegmentFigures]


class CutOffCost(_Figures):
    """A cut-off's figures on running loans; `expected_cost`, in false alarms per loan, is unset without a ratio."""

    cut_off: float
    precision: float
    recall: float
    called_risky: int
    expected_cost: float | None = None


class DollarFigures(_Figures):
    """Effects of a dollar or a cent more or less in a payment.

    Attributes:
        loans: Number of running loans of known age.
        flipped_share: Share of those loans whose decision a change flips.
        largest_change_quantile: 99.9 % quantile of the largest change of a loan's probability.
    """

    loans: int
    flipped_share: float
    largest_change_quantile: float
    largest_change: float


class PerfectPayerFigures(_Figures):
    """Predictions for made-up loans that paid each instalment on time."""

    loans: int
    called_risky: int
    mean_probability: float
    largest_probability: float


class OutOfTimeFigures(_Figures):
    """Figures of loans that were issued after those of the training."""

    segments: dict[str, SegmentFigures]
    age_withheld: dict[str, SegmentFigures]
    trained_until: str
    tested_from: str


class SourceLeftOutFigures(_Figures):
    """Figures of a source, or a year, that the model was not fitted on."""

    segments: dict[str, SegmentFigures]
    age_withheld: dict[str, SegmentFigures]
    left_out: str


class SplitFigures(_Figures):
    """The main figures of one split of the loans, or their means."""

    auc: float | None
    brier: float | None
    f1: float | None
    running_auc: float | None
    running_brier: float | None
    running_f1: float | None
    age_withheld_auc: float | None
    age_withheld_brier: float | None


class Metrics(_Figures):
    """All figures of a training, as `metadata.json` stores them."""

    ended_share: float
    baseline: Baseline
    test: Evaluation
    test_running: Evaluation | None = None
    segments: dict[str, SegmentFigures]
    age_withheld: dict[str, SegmentFigures]
    out_of_fold: OutOfFoldFigures
    rule: Ranking | None
    cut_offs: tuple[CutOffCost, ...]
    cost_ratio: float | None
    dollar: DollarFigures | None = None
    perfect_payers: PerfectPayerFigures | None = None
    out_of_time: OutOfTimeFigures | None
    source_left_out: SourceLeftOutFigures | None
    split_seeds: dict[str, SplitFigures]


def select_main_segments(segments: Segments) -> dict[str, SegmentFigures]:
    """Select the figures of running, ended and all loans."""
    return {name: segments[name] for name in ("running", "ended", "all") if name in segments}
