"""Collects the results of a training, for the gate and the archive."""

from dataclasses import dataclass
from typing import Any

from credit_risk_model import archive
from credit_risk_model.archive import CleaningRecord, DataRecord
from credit_risk_model.contract import Contract
from credit_risk_model.drift.reference import Reference
from credit_risk_model.training.figures import (
    Baseline,
    Metrics,
    OutOfTimeFigures,
    SourceLeftOutFigures,
    SplitFigures,
)
from credit_risk_model.training.fitting import Split
from credit_risk_model.training.former import Former
from credit_risk_model.training.gate import Evidence
from credit_risk_model.training.measuring import Fit, evaluate_test_set
from credit_risk_model.training.reports import SuiteReport
from credit_risk_model.training.stability import Stability

_SUITES = ("data_integrity", "train_test_validation", "model_evaluation")


@dataclass(frozen=True)
class Reports:
    """The four reports of a training; all are required.

    Attributes:
        exploration: The data exploration report, an HTML page.
        integrity, split, model: The reports of deepchecks' suites.
    """

    exploration: str
    integrity: SuiteReport
    split: SuiteReport
    model: SuiteReport

    @property
    def files(self) -> dict[str, bytes]:
        """The pages by the archive's file names."""
        return {
            archive.EXPLORATION_REPORT: self.exploration.encode(),
            archive.INTEGRITY_REPORT: self.integrity.html.encode(),
            archive.SPLIT_REPORT: self.split.html.encode(),
            archive.MODEL_REPORT: self.model.html.encode(),
        }

    @property
    def suites(self) -> tuple[SuiteReport, ...]:
        """Deepchecks' suites in the order in which they ran."""
        return self.integrity, self.split, self.model

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The failed checks without a reason why the failure is acceptable."""
        return tuple(check for suite in self.suites for check in suite.unexplained)

    def store(self) -> dict[str, dict[str, Any]]:
        """Return the checks' outcomes as a dict for JSON."""
        return dict(zip(_SUITES, (suite.store() for suite in self.suites), strict=True))


@dataclass(frozen=True)
class Trained:
    """A trained model and its figures. No part has a default, so that no step of a training can be skipped.

    Attributes:
        data: The training's data.
        ended_share: Share of those loans that have ended.
        cleaning: The rows that each cleaning step left.
        contract: The contract that the archive checks loans by.
        split: Its training and test set.
        fit: The model.
        baseline: The figures of LightGBM's defaults.
        stability: The figures that every model must meet, whatever its data.
        out_of_time, source_left_out: Figures of loans that are harder to predict; None if there are none.
        splits: Figures of other splits.
        reports: The reports.
        references: Distributions to compare later loans with.
    """

    data: DataRecord
    ended_share: float
    cleaning: tuple[CleaningRecord, ...]
    contract: Contract
    split: Split
    fit: Fit
    baseline: Baseline
    stability: Stability
    out_of_time: OutOfTimeFigures | None
    source_left_out: SourceLeftOutFigures | None
    splits: dict[str, SplitFigures]
    reports: Reports
    references: tuple[Reference, ...]

    def measure(self) -> Metrics:
        """Evaluate the test set, and collect all figures."""
        fit, found = self.fit, evaluate_test_set(self.split.test, self.fit)
        # Figures that could not be measured are not stored.
        optional = {
            "test_running": found.running,
            "dollar": self.stability.dollar,
            "perfect_payers": self.stability.perfect_payers,
        }
        return Metrics(
            ended_share=self.ended_share,
            baseline=self.baseline,
            test=found.all,
            segments=fit.segments,
            age_withheld=fit.segments_withheld,
            out_of_fold=fit.out_of_fold,
            rule=fit.rule,
            cut_offs=fit.costs,
            cost_ratio=fit.recipe.cost_ratio,
            out_of_time=self.out_of_time,
            source_left_out=self.source_left_out,
            split_seeds=self.splits,
            **{name: value for name, value in optional.items() if value is not None},
        )

    def gather_evidence(self, former: Former | None) -> Evidence:
        """Gather the gate's evidence, including the former archive's figures."""
        apart = None if self.out_of_time is None else self.out_of_time.segments["all"]
        return Evidence(
            rows=len(self.split.training),
            out_of_fold=self.fit.out_of_fold,
            baseline=self.baseline.out_of_fold,
            rule=self.fit.rule,
            former=None if former is None else former.measure(self.split.training, self.data),
            former_name="" if former is None else former.name,
            dollar=self.stability.dollar,
            perfect_payers=self.stability.perfect_payers,
            calibration=None if apart is None else apart.mean_probability / apart.risky_share,
            # Synthetic loans fail such checks by construction. Their model is never shipped.
            unexplained=() if self.data.kind == "synthetic" else self.reports.unexplained,
        )
