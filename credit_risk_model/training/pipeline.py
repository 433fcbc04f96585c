"""Training's steps in their order: what the notebook and the command line call.

Run it without the notebook as `python -m credit_risk_model.training.pipeline --help`.
"""

import argparse
import importlib.metadata
import io
import logging
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from credit_risk_model import archive, features
from credit_risk_model.errors import ConfigurationError, CreditRiskError, ModelArchiveError, ModelRefusedError
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training import cleaning, evaluation, fitting, validation
from credit_risk_model.training.card import write_card
from credit_risk_model.training.golden import golden_loans
from credit_risk_model.training.loans import ENDED_STATUSES, LABEL, STATUS, file_sha256, is_synthetic, read_loans
from credit_risk_model.training.synthetic import write_synthetic_loan_book

logger = logging.getLogger(__name__)

DEFAULT_DATA = Path("data/loan/loan.csv")
SYNTHETIC_DATA = Path("data/synthetic/training_loan.csv")  # apart from what `make synthetic-data` writes
SYNTHETIC_OUTPUT = Path("build")
SPLIT_SEEDS = (42, 1, 2)
WORSE_BY_AT_MOST = 0.005
"""How much AUC a new model may lose against the one it would follow: about what another split's draw changes."""

_UNUSED = "Fields for which the derived features speak, or nearly constant in this book; the contract asks for all 16."
ACCEPTED_FAILURES = {
    ("Feature-Feature Correlation", "failed"): "Amounts and shares that are computed from the same fields, as the loan "
    "amount and its instalment, follow each other; trees choose between them.",
    ("String Mismatch", "warning"): "`1 year` and `< 1 year` look alike and are two levels; the contract's enum keeps "
    "them apart.",
    ("Outlier Sample Detection", "warning"): "Rare mixes of values that are each allowed; the cleaning has bounded "
    "every column.",
    ("Unused Features - Train Dataset", "warning"): _UNUSED,
    ("Unused Features - Test Dataset", "warning"): _UNUSED,
    ("Weak Segments Performance - Train Dataset", "error"): "On the training set the check finds too few errors to fit "
    "its own error model to.",
}
"""Checks with the status that they are known to have on LendingClub's loans, and why that is acceptable."""

_NOT_KNOWN = "Not known: look into it."
_LIBRARIES = ("lightgbm", "scikit-learn", "flaml", "pandas", "numpy", "joblib", "pydantic", "deepchecks")


@dataclass(frozen=True)
class Settings:
    """What a training may be told.

    Attributes:
        data: A loan.csv, plain, `.gz` or `.zip`; None: the environment's LOAN_DATA, else `data/loan/loan.csv`, else a
            synthetic loan book, which is made.
        output: Archive to write; None: the next free number in the package's folder, or in `build/` where the data is
            synthetic.
        time_budget: Seconds for the search.
        max_trees, max_leaves: The search's bounds: trees are what a prediction costs.
        seed: Seed of the split, the search, the folds, the fit and the golden loans.
        synthetic_rows: Loans to make up where there is no data.
        search_log: File for FLAML's log.
    """

    data: Path | None = None
    output: Path | None = None
    time_budget: float = 1200
    max_trees: int = 50
    max_leaves: int = 127
    seed: int = 42
    synthetic_rows: int = 100_000
    search_log: Path = Path("build/search.log")


class Training:
    """One training. Its methods are the steps, to be called in the order in which they stand here.

    Each gives what there is to show of it. Attributes hold what later steps need: `loans`, `split`,
    `hyperparameters`, `estimator`, `cut_off`, `metrics`, `files` (the archive's files by name).
    """

    def __init__(self, settings: Settings) -> None:
        """Find the data, and make it where there is none; what can't bound the search is refused before the work."""
        fitting.check_bounds(settings.time_budget, settings.max_trees, settings.max_leaves)
        self.settings = settings
        self.data = _find_data(settings)
        self.files: dict[str, bytes] = {}
        self.metrics: dict[str, Any] = {}
        self.checks: dict[str, Any] = {}
        self._figures: dict[str, dict[str, Any]] = {}

    def read(self) -> pd.DataFrame:
        """Read the loans; gives how many there are by status and label."""
        self.loans = read_loans(self.data)
        self._data_sha256 = file_sha256(self.data)  # now, since the file may be replaced while the training runs
        self.synthetic = is_synthetic(self.data)
        self._rows_read = len(self.loans)
        self.metrics["ended_share"] = float(self.loans[STATUS].isin(ENDED_STATUSES).mean())
        by_status = self.loans.groupby([LABEL, STATUS], observed=True).size().rename("loans").to_frame()
        return by_status.assign(share=(by_status["loans"] / self._rows_read).round(4))

    def clean(self) -> pd.DataFrame:
        """Filter the loans; gives the rows left after each step."""
        self.loans, self.steps = cleaning.clean(self.loans)
        return self.steps

    def profile(self) -> pd.DataFrame:
        """Make the data exploration report; gives the numeric fields' summary."""
        fields = self.loans[[*fitting.FIELDS, LABEL]]
        descriptions = {feature.name: feature.description for feature in features.CONTRACT_FEATURES}
        title = "Synthetic loan book" if self.synthetic else "Loans"
        self._keep(archive.EXPLORATION_REPORT, validation.profile_loans(fields, descriptions, title))
        return fields.describe().T.drop(columns="count").round(2)

    def check_data(self) -> pd.DataFrame:
        """Run deepchecks' data integrity suite; gives the conditions that did not pass."""
        report = validation.check_data_integrity(self._labelled(self.loans), features.CATEGORIES)
        return self._keep_checks("data_integrity", archive.INTEGRITY_REPORT, report)

    def draw_test_set(self) -> pd.DataFrame:
        """Split the loans; gives the sizes and the shares of risky loans."""
        self.split = fitting.split(self.loans, self.settings.seed)
        labels = {"training": self.split.training_label, "test": self.split.test_label}
        return pd.DataFrame(
            {name: {"loans": len(risky), "risky share": risky.mean()} for name, risky in labels.items()}
        ).T

    def check_split(self) -> pd.DataFrame:
        """Run deepchecks' train-test validation suite; gives the conditions that did not pass."""
        training, test = self._parts()
        report = validation.check_split(training, test, features.CATEGORIES)
        return self._keep_checks("train_test_validation", archive.SPLIT_REPORT, report)

    def fit_baselines(self) -> pd.DataFrame:
        """Fit LightGBM's defaults on the 16 fields, and on them with the derived features; gives their figures."""
        self._measure("LightGBM's defaults, 16 fields", {}, columns=fitting.FIELDS)
        self._measure("LightGBM's defaults, with derived features", {})
        return evaluation.figures_table(self._figures)

    def search(self) -> pd.DataFrame:
        """Search hyper-parameters within the bounds; gives the best found."""
        settings = self.settings
        self.hyperparameters = fitting.search(
            self.split.training,
            self.split.training_label,
            time_budget=settings.time_budget,
            max_trees=settings.max_trees,
            max_leaves=settings.max_leaves,
            seed=settings.seed,
            log=settings.search_log,
        )
        return pd.Series(self.hyperparameters, name="value", dtype=object).to_frame()

    def fit(self) -> pd.DataFrame:
        """Fit the final model and choose its cut-off; gives the comparison of all models on the test set."""
        final = self._measure("FLAML's best, final fit", self.hyperparameters)
        self.estimator, self.cut_off, self.probability = final.estimator, final.cut_off, final.probability
        self.metrics["test"] = final.figures
        self.metrics["comparison"] = self._figures
        return evaluation.figures_table(self._figures)

    def decisions(self) -> pd.DataFrame:
        """Give precision, recall and F1 of both classes at 0.5 and at the cut-off."""
        return evaluation.decisions_table(self.metrics["test"])

    def curves(self) -> Figure:
        """Draw the test set's ROC, precision-recall and cumulative curves."""
        return evaluation.plot_curves(self.split.test_label, self.probability, self.cut_off)

    def calibration(self) -> pd.DataFrame:
        """Give mean probability and share of risky loans by tenths of the test set."""
        return evaluation.calibration_table(self.split.test_label, self.probability)

    def calibration_curve(self) -> Figure:
        """Draw the calibration."""
        return evaluation.plot_calibration(self.split.test_label, self.probability)

    def confusion(self) -> Figure:
        """Draw the confusion matrices."""
        return evaluation.plot_confusion(self.metrics["test"])

    def importance(self) -> Figure:
        """Draw the features' importance."""
        return evaluation.plot_importance(self.estimator)

    def by_status(self) -> pd.DataFrame:
        """Give the test set's mean probability and share called risky by loan status."""
        statuses = self.loans.loc[self.split.test.index, STATUS]
        return evaluation.status_table(statuses, self.probability, self.cut_off)

    def out_of_time(self) -> pd.DataFrame:
        """Train on the earlier loans and test on the later ones; gives the figures, none without issue dates."""
        found = evaluation.evaluate_out_of_time(self.loans, self.hyperparameters, self.cut_off, self.settings.seed)
        self.metrics["out_of_time"] = found
        if found is None:
            return pd.DataFrame()
        names = ("trained_until", "tested_from", "rows", "risky_share", "mean_probability", "auc", "brier")
        return pd.Series({name: found[name] for name in names}, name="value").to_frame()

    def other_splits(self) -> pd.DataFrame:
        """Repeat split, fit and cut-off with other seeds; gives each one's figures and their mean."""
        rows = {}
        for seed in SPLIT_SEEDS:
            drawn = fitting.split(self.loans, seed)
            found = _fit_and_evaluate(drawn, self.hyperparameters, seed).figures
            rows[str(seed)] = {
                "auc": found["auc"],
                "risky_f1_at_cut_off": found["at_cut_off"]["f1"]["risky"],
                "brier": found["brier"],
            }
        rows["mean"] = {
            name: float(np.mean([row[name] for row in rows.values()])) for name in rows[str(SPLIT_SEEDS[0])]
        }
        self.metrics["split_seeds"] = rows
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("split seed").round(4)

    def check_model(self) -> pd.DataFrame:
        """Run deepchecks' model evaluation suite; gives the conditions that did not pass."""
        report = validation.check_model(*self._parts(), features.CATEGORIES, self.estimator)
        return self._keep_checks("model_evaluation", archive.MODEL_REPORT, report)

    def package(self) -> Path:
        """Write the archive, unless the model is worse than the baseline or than the model it would follow.

        Returns:
            The archive's path.

        Raises:
            ModelRefusedError: The model is worse; nothing is written.
            ModelArchiveError: What was written doesn't reproduce the fitted model; nothing is left.
        """
        # A model of made-up loans must not become the newest of the package's own.
        output = self.settings.output or archive.next_free(SYNTHETIC_OUTPUT if self.synthetic else archive.MODEL_FILES)
        self._refuse_worse(output)
        golden = golden_loans(self.settings.seed)
        self.files[archive.MODEL] = self.estimator.booster_.model_to_string().encode()
        self.files[archive.ESTIMATOR] = _dump(self.estimator)
        self.files[archive.GOLDEN] = archive.golden_json(golden, self.predict_loans(golden).tolist())
        metadata = self._metadata(output)
        self.files[archive.CARD] = self._card(metadata).encode()
        archive.write(output, metadata, self.files)
        return output

    def test_loans(self) -> list[CreditRiskModelInput]:
        """Give the test set's loans as requests, without those that the contract's bounds don't allow."""
        test = self.loans.loc[self.split.test.index, fitting.FIELDS]
        allowed = pd.Series(True, index=test.index)
        for feature in features.CONTRACT_FEATURES:
            if feature.bounds is not None:
                allowed &= test[feature.name].between(*feature.bounds)
        return [CreditRiskModelInput.model_validate(loan) for loan in test[allowed].to_dict("records")]

    def predict_loans(self, loans: list[CreditRiskModelInput]) -> npt.NDArray[np.float64]:
        """Give the fitted estimator's own probabilities of such loans, by pandas and scikit-learn; shape (loans,)."""
        frame = pd.DataFrame([loan.model_dump(mode="json") for loan in loans])
        for feature in features.CONTRACT_FEATURES:
            if feature.levels:
                frame[feature.name] = pd.Categorical(frame[feature.name], categories=feature.levels)
        return fitting.probabilities(self.estimator, fitting.feature_frame(frame))

    def run(self) -> Path:
        """Call all the steps in order; gives the archive's path."""
        steps = (
            self.read,
            self.clean,
            self.profile,
            self.check_data,
            self.draw_test_set,
            self.check_split,
            self.fit_baselines,
            self.search,
            self.fit,
            self.out_of_time,
            self.other_splits,
            self.check_model,
        )
        for step in steps:
            logger.info("%s", step.__name__.replace("_", " "))
            logger.info("\n%s", step().to_string())
        return self.package()

    def _keep(self, name: str, html: str) -> None:
        self.files[name] = html.encode()

    def _keep_checks(self, suite: str, name: str, report: validation.SuiteReport) -> pd.DataFrame:
        self._keep(name, report.html)
        self.checks[suite] = report.to_metadata()
        rows = [
            {
                "check": outcome.check,
                "condition": outcome.condition,
                "found": outcome.details,
                "status": outcome.status,
                "why that is acceptable": why_acceptable(outcome),
            }
            for outcome in report.failed
        ]
        return pd.DataFrame(rows, columns=["check", "condition", "found", "status", "why that is acceptable"])

    def _labelled(self, loans: pd.DataFrame) -> pd.DataFrame:
        return fitting.feature_frame(loans).assign(**{LABEL: fitting.label(loans)})

    def _parts(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        training = self.split.training.assign(**{LABEL: self.split.training_label})
        return training, self.split.test.assign(**{LABEL: self.split.test_label})

    def _measure(
        self, name: str, hyperparameters: fitting.Hyperparameters, columns: list[str] | None = None
    ) -> "_Fitted":
        drawn = self.split
        if columns is not None:
            drawn = fitting.Split(drawn.training[columns], drawn.test[columns], drawn.training_label, drawn.test_label)
        fitted = _fit_and_evaluate(drawn, hyperparameters, self.settings.seed)
        self._figures[name] = fitted.figures
        return fitted

    def _refuse_worse(self, output: Path) -> None:
        # Out of fold: were models chosen by the test set, one try after the other, its figures would flatter them.
        auc = self.metrics["test"]["out_of_fold_auc"]
        baseline = next(iter(self._figures.values()))["out_of_fold_auc"]
        if auc < baseline:
            raise ModelRefusedError(
                f"The model's out-of-fold AUC {auc:.4f} is below {baseline:.4f} of LightGBM's defaults on the 16 "
                "fields: not packaged. Raise the time budget or the bounds of the search."
            )
        last = _last_archive(output)
        pair = self._comparable_aucs(last) if last else None
        if last and pair and pair[0] < pair[1] - WORSE_BY_AT_MOST:
            raise ModelRefusedError(
                f"The model's AUC {pair[0]:.4f} is below {pair[1]:.4f} of {last.name}, which it would follow: "
                "not packaged. Look at the data and the search, or write it elsewhere (output)."
            )

    def _comparable_aucs(self, path: Path) -> tuple[float, float] | None:
        """Give this model's AUC and the former's, on the same loans, which neither has seen; None where there is none.

        Of the same file both recorded theirs out of fold. The loans of another file are new to the former model, so
        that it is measured on this test set.
        """
        try:
            former = archive.read(path)
        except ModelArchiveError as error:
            logger.warning("The model can't be compared with %s, which it follows: %s", path.name, error)
            return None
        if (former.metadata.data.kind == "synthetic") != self.synthetic:
            return None
        if former.metadata.data.sha256 != self._data_sha256:
            return float(self.metrics["test"]["auc"]), self._test_auc_of(former)
        recorded = former.metadata.metrics["test"].get("out_of_fold_auc")
        if recorded is None:
            logger.warning("The model can't be compared with %s, which it follows: no out-of-fold AUC.", path.name)
            return None
        return float(self.metrics["test"]["out_of_fold_auc"]), float(recorded)

    def _test_auc_of(self, former: archive.Archive) -> float:
        codes = self.split.test.assign(
            **{name: self.split.test[name].cat.codes for name in features.CATEGORIES}
        ).to_numpy(dtype=float)
        probability = np.array([former.booster.predict_row(row) for row in codes.tolist()])
        return float(evaluation.evaluate(self.split.test_label, probability, 0.5)["auc"])

    def _card(self, metadata: dict[str, Any]) -> str:
        return write_card(metadata, evaluation.importance_table(self.estimator), self.by_status())

    def _metadata(self, output: Path) -> dict[str, Any]:
        return {
            "model_version": output.stem,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
            "seed": self.settings.seed,
            "cut_off": self.cut_off,
            "features": [self._feature_record(feature) for feature in features.FEATURES],
            "hyperparameters": self.hyperparameters,
            "metrics": self.metrics,
            "cleaning": self.steps[["step", "rows"]].to_dict("records"),
            "checks": self.checks,
            "data": {
                "kind": "synthetic" if self.synthetic else "loans",
                "file": self.data.name,
                "sha256": self._data_sha256,
                "rows": self._rows_read,
            },
        }

    def _feature_record(self, feature: features.Feature) -> dict[str, Any]:
        column = self.split.training[feature.name]
        return {
            "name": feature.name,
            "levels": feature.levels,
            "minimum": None if feature.levels else float(column.min()),
            "maximum": None if feature.levels else float(column.max()),
        }


def why_acceptable(outcome: validation.CheckOutcome) -> str:
    """Say why a condition may not pass, where that is known of this check with this status."""
    return ACCEPTED_FAILURES.get((outcome.check, outcome.status), _NOT_KNOWN)


@dataclass(frozen=True)
class _Fitted:
    """A fitted model with its cut-off, its probabilities of the test set, and what `evaluation.evaluate` finds there.

    The figures hold `out_of_fold_auc` besides: the AUC on the training set, each loan by a model that had not seen it.
    """

    estimator: lgb.LGBMClassifier
    cut_off: float
    probability: npt.NDArray[np.float64]
    figures: dict[str, Any]


def _fit_and_evaluate(drawn: fitting.Split, hyperparameters: fitting.Hyperparameters, seed: int) -> _Fitted:
    """Fit on the training set, choose the cut-off on its out-of-fold predictions, measure on the test set."""
    out_of_fold = fitting.out_of_fold_probabilities(drawn.training, drawn.training_label, hyperparameters, seed)
    estimator = fitting.fit(drawn.training, drawn.training_label, hyperparameters, seed)
    cut_off = fitting.choose_cut_off(drawn.training_label, out_of_fold)
    probability = fitting.probabilities(estimator, drawn.test)
    figures = evaluation.evaluate(drawn.test_label, probability, cut_off)
    figures["out_of_fold_auc"] = float(roc_auc_score(drawn.training_label, out_of_fold))
    return _Fitted(estimator, cut_off, probability, figures)


def _find_data(settings: Settings) -> Path:
    if settings.data is not None:
        return settings.data
    if os.environ.get("LOAN_DATA"):
        return Path(os.environ["LOAN_DATA"])
    if DEFAULT_DATA.exists():
        return DEFAULT_DATA
    logger.warning(
        "There is no %s, and LOAN_DATA is not set: training on a SYNTHETIC loan book of %s loans. `make data` fetches "
        "the real ones.",
        DEFAULT_DATA,
        f"{settings.synthetic_rows:,}",
    )
    if settings.synthetic_rows < 1:
        raise ConfigurationError(f"synthetic_rows is {settings.synthetic_rows}: at least 1 loan is needed.")
    write_synthetic_loan_book(SYNTHETIC_DATA, settings.synthetic_rows, settings.seed)
    return SYNTHETIC_DATA


def _last_archive(output: Path) -> Path | None:
    """Find the archive that a new one would follow: the one it replaces, or the last of its folder."""
    if output.exists():
        return output
    following = archive.next_free(output.parent)
    last = following.with_name(f"{int(following.stem) - 1}.zip")
    return last if last.exists() else None


def _dump(estimator: lgb.LGBMClassifier) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    return buffer.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """Train from the command line; the settings' names are the options'."""
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m credit_risk_model.training.pipeline", description="Train, validate and package the model."
    )
    parser.add_argument("--data", type=Path, help="a loan.csv, plain, .gz or .zip (default: LOAN_DATA, or data/loan)")
    parser.add_argument("--output", type=Path, help="archive to write (default: the next free number)")
    for name in ("time_budget", "max_trees", "max_leaves", "seed", "synthetic_rows", "search_log"):
        value = getattr(defaults, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(value), default=value, help="default: %(default)s")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        path = Training(Settings(**vars(parser.parse_args(arguments)))).run()
    except CreditRiskError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    logger.info("Packaged: %s", path)


if __name__ == "__main__":
    main()
