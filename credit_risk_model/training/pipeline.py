"""Runs the training's steps in order, for the notebook and the command line.

Without the notebook: `python -m credit_risk_model.training.pipeline --help`.
"""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from credit_risk_model import archive, features
from credit_risk_model.drift.reference import Reference
from credit_risk_model.errors import CreditRiskError
from credit_risk_model.training import cleaning, exploration, fitting, gate, held_out, packaging, reports
from credit_risk_model.training.backdating import backdate, plot_backdated, tabulate_backdated
from credit_risk_model.training.book import Book, find_data, read_book
from credit_risk_model.training.figures import (
    Baseline,
    OutOfTimeFigures,
    SourceLeftOutFigures,
    SplitFigures,
    select_main_segments,
)
from credit_risk_model.training.final_fit import FinalFitViews
from credit_risk_model.training.fitting import Hyperparameters, Split
from credit_risk_model.training.former import find_former
from credit_risk_model.training.kept import Kept
from credit_risk_model.training.loans import LABEL
from credit_risk_model.training.measuring import Recipe, fit_and_measure
from credit_risk_model.training.model_card import People
from credit_risk_model.training.reference import make_references, tabulate_references
from credit_risk_model.training.reports import SuiteReport
from credit_risk_model.training.search import search
from credit_risk_model.training.segments import tabulate_segments
from credit_risk_model.training.settings import Settings
from credit_risk_model.training.stability import Stability, measure_stability
from credit_risk_model.training.summary import describe_next_steps, tabulate_summary
from credit_risk_model.training.trained import Reports, Trained

__all__ = ["Settings", "Training", "main"]

logger = logging.getLogger(__name__)

SYNTHETIC_OUTPUT = Path("build")
BASELINE = "LightGBM's defaults, with derived features"


class Training(FinalFitViews):
    """One training. Its methods are the steps, to be called in the order of their definition.

    Each step returns a table to show, and keeps its value for later steps. A step raises `StepLeftOutError` if an
    earlier step that it needs has not run.
    """

    def __init__(self, settings: Settings) -> None:
        """Create a training; raises `ConfigurationError` for an invalid setting."""
        super().__init__()
        settings.check()
        self.settings = settings
        self._book = Kept[Book]("read")
        self._exploration = Kept[str]("profile")
        self._labelled = Kept[pd.DataFrame]("check_data")
        self._integrity = Kept[SuiteReport]("check_data")
        self._split_report = Kept[SuiteReport]("check_split")
        self._baseline = Kept[Baseline]("fit_baselines")
        self._hyperparameters = Kept[dict[str, Hyperparameters]]("search")
        self._stability = Kept[Stability]("stability")
        self._out_of_time = Kept[OutOfTimeFigures | None]("out_of_time")
        self._source_left_out = Kept[SourceLeftOutFigures | None]("source_left_out")
        self._splits = Kept[dict[str, SplitFigures]]("other_splits")
        self._model_report = Kept[SuiteReport]("check_model")
        self._packaged = Kept[packaging.Packaged]("package")

    @property
    def age(self) -> str:
        """What the loans' age was computed from, in words."""
        return self._book.get().record.age

    @property
    def synthetic(self) -> bool:
        """Whether the loans are made up."""
        return self._book.get().synthetic

    @property
    def loans(self) -> pd.DataFrame:
        """The cleaned loans."""
        return self._clean.get().loans

    def read(self) -> pd.DataFrame:
        """Find or make the loan book, and read it; returns the number of loans by status and label."""
        book = self._book.keep(read_book(find_data(self.settings), self.settings.as_of))
        logger.info("The loans' age: %s.", book.record.age)
        return book.table()

    def clean(self) -> pd.DataFrame:
        """Filter the loans; returns the rows left after each step."""
        found = self._clean.keep(cleaning.clean(self._book.get().loans, widen_bounds=self.settings.widen_bounds))
        for sentence in cleaning.describe_bounds(found):
            logger.log(logging.INFO if self.settings.widen_bounds else logging.WARNING, "%s", sentence)
        return found.steps

    def profile(self) -> pd.DataFrame:
        """Make the data exploration report; returns the numeric fields' summary."""
        fields = self.loans[[*fitting.FIELDS, LABEL]]
        descriptions = {feature.name: feature.description for feature in features.CONTRACT_FEATURES}
        title = "Synthetic loan book" if self.synthetic else "Loans"
        self._exploration.keep(exploration.profile_loans(fields, descriptions, title))
        return fields.describe().T.drop(columns="count").round(2)

    def check_data(self) -> pd.DataFrame:
        """Run deepchecks' data integrity suite; returns the conditions that did not pass."""
        labelled = self._labelled.keep(fitting.make_labelled_frame(self.loans, self._clean.get().main_features))
        return self._integrity.keep(reports.check_data_integrity(labelled, self._categories())).table()

    def draw_test_set(self) -> pd.DataFrame:
        """Split the loans; returns the sizes and the shares of risky loans."""
        return self._split.keep(fitting.split(self.loans, self.settings.seed)).table()

    def backdated(self) -> pd.DataFrame:
        """Count the backdated loans that are added to the training set, by status."""
        return tabulate_backdated(_backdate(self.split, self.settings))

    def plot_backdated(self) -> Figure:
        """Plot the age of the training loans and the backdated ones."""
        return plot_backdated(self.split.training, _backdate(self.split, self.settings))

    def check_split(self) -> pd.DataFrame:
        """Run deepchecks' train-test validation suite; returns the conditions that did not pass."""
        return self._split_report.keep(reports.check_split(*self._parts(), self._categories())).table()

    def fit_baselines(self) -> pd.DataFrame:
        """Fit LightGBM's defaults with the derived features; returns their figures beside those of the arrears rule."""
        for report in (self._exploration, self._integrity, self._split_report):
            report.get()  # fail now, not after the search, if a report was skipped
        defaults: dict[str, Hyperparameters] = {wanted.name: {} for wanted in features.FEATURE_SETS}
        fit = fit_and_measure(self.split, _make_recipe(self.settings, defaults))
        test = select_main_segments(fit.segments)
        self._baseline.keep(Baseline(name=BASELINE, out_of_fold=fit.out_of_fold, test=test))
        return tabulate_segments(test)

    def search(self) -> pd.DataFrame:
        """Search hyper-parameters within the bounds; returns the best ones."""
        self._baseline.get()
        chosen, training = self.settings, self.split.training
        found = search(training, chosen.bounds, chosen.seed, chosen.search_log, backdated=chosen.backdated)
        return pd.DataFrame(self._hyperparameters.keep(found))

    def fit(self) -> pd.DataFrame:
        """Fit the final models and choose the cut-off; returns the figures by segment, beside the arrears rule."""
        recipe = _make_recipe(self.settings, self._hyperparameters.get())
        fit = self._fit.keep(fit_and_measure(self.split, recipe))
        return tabulate_segments(fit.segments)

    def stability(self) -> pd.DataFrame:
        """Measure the effects of a dollar, and the predictions for loans that are paid on time."""
        fit, contract = self._fit.get(), self._clean.get().contract
        return self._stability.keep(measure_stability(fit.fitted, self.split.test, fit.cut_off, contract)).table()

    def out_of_time(self) -> pd.DataFrame:
        """Train on the earlier loans and test on the later fifth; returns the figures, if there are issue dates."""
        found = self._out_of_time.keep(held_out.measure_out_of_time(self.loans, self._fit.get()))
        return pd.DataFrame() if found is None else tabulate_segments(found.segments)

    def source_left_out(self) -> pd.DataFrame:
        """Train without one source and test on it, or without the newest year; returns the figures, if possible."""
        found = self._source_left_out.keep(held_out.measure_source_left_out(self.loans, self._fit.get()))
        return pd.DataFrame() if found is None else tabulate_segments(found.segments)

    def other_splits(self) -> pd.DataFrame:
        """Repeat split, fit and cut-off with other seeds; returns each one's figures and their mean."""
        found = self._splits.keep(held_out.repeat_splits(self.loans, self._fit.get().recipe))
        return held_out.tabulate_splits(found).round(4)

    def check_model(self) -> pd.DataFrame:
        """Run deepchecks' model evaluation suite; returns the conditions that did not pass."""
        found = reports.check_model(*self._parts(), self._categories(), self._fit.get().fitted.main)
        return self._model_report.keep(found).table()

    def reference(self) -> pd.DataFrame:
        """Return the distributions to compare later loans with: bins of fields and probability, with their shares."""
        return tabulate_references(self._references())

    def trained(self) -> Trained:
        """Collect the results of all steps.

        Raises:
            StepLeftOutError: A step has not run.
        """
        book, fit = self._book.get(), self._fit.get()
        return Trained(
            data=book.record,
            ended_share=book.ended_share,
            cleaning=self._clean.get().records,
            contract=self._clean.get().contract,
            split=self.split,
            fit=fit,
            baseline=self._baseline.get(),
            stability=self._stability.get(),
            out_of_time=self._out_of_time.get(),
            source_left_out=self._source_left_out.get(),
            splits=self._splits.get(),
            reports=Reports(
                self._exploration.get(), self._integrity.get(), self._split_report.get(), self._model_report.get()
            ),
            references=self._references(),
        )

    def package(self) -> Path:
        """Write the archive, unless the gate refuses the model; returns its path.

        Raises:
            StepLeftOutError: A step has not run.
            ModelRefusedError: The gate refuses the model; nothing is written.
            ModelArchiveError: The written archive does not reproduce the fitted models; it is deleted.
        """
        chosen, found = self.settings, self.trained()
        # A model of synthetic loans must not become the package's newest.
        output = chosen.output or archive.next_free(SYNTHETIC_OUTPUT if self.synthetic else archive.MODEL_FILES)
        former = find_former(output, found.data)
        verdict = gate.judge(found.gather_evidence(former))
        people = People(chosen.owner, chosen.approved_by)
        return self._packaged.keep(packaging.package(output, found, verdict, people=people, former=former)).path

    def summary(self) -> pd.DataFrame:
        """Return the packaged model's figures beside those of the arrears rule, the defaults and the former archive."""
        packaged = self._packaged.get()
        return tabulate_summary(packaged.path.name, self._fit.get().segments, self._baseline.get(), packaged.former)

    def next_steps(self) -> str:
        """Return the archive's path and how to serve it, with two lines of YAML to paste."""
        return describe_next_steps(self._packaged.get().path)

    def _categories(self) -> tuple[str, ...]:
        return self._clean.get().main_features.categories

    def _parts(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the labelled rows of training and test set, in their order."""
        labelled = self._labelled.get()
        training, test = (
            part.index[part.index.isin(labelled.index)] for part in (self.split.training, self.split.test)
        )
        return labelled.loc[training], labelled.loc[test]

    def _references(self) -> tuple[Reference, ...]:
        fit, drawn = self._fit.get(), self.split
        return make_references(drawn.training, drawn.test, fit.answers, fit.cut_off)


def _make_recipe(settings: Settings, hyperparameters: dict[str, Hyperparameters]) -> Recipe:
    return Recipe(hyperparameters, settings.seed, settings.backdated, settings.cost_ratio)


def _backdate(drawn: Split, settings: Settings) -> pd.DataFrame:
    again = backdate(drawn.training, settings.seed)
    return again if settings.backdated else again.iloc[:0]


def list_steps(training: Training) -> tuple[Callable[[], pd.DataFrame], ...]:
    """List the steps before the packaging, in their order."""
    return (
        training.read,
        training.clean,
        training.profile,
        training.check_data,
        training.draw_test_set,
        training.check_split,
        training.fit_baselines,
        training.search,
        training.fit,
        training.stability,
        training.out_of_time,
        training.source_left_out,
        training.other_splits,
        training.check_model,
    )


def run(training: Training) -> Path:
    """Run all steps in order, and log their tables; returns the archive's path."""
    for step in list_steps(training):
        logger.info("%s", step.__name__.replace("_", " "))
        logger.info("\n%s", step().to_string())
    path = training.package()
    logger.info("\n%s\n\n%s", training.summary().to_string(), training.next_steps())
    return path


def main(arguments: list[str] | None = None, prog: str = "python -m credit_risk_model.training.pipeline") -> None:
    """Train from the command line; each option has the name of a setting."""
    defaults = Settings()
    parser = argparse.ArgumentParser(prog=prog, description="Train, validate and package the model.")
    parser.add_argument(
        "--data", type=Path, help="file or folder of loans in any format for scoring (default: LOAN_DATA, or data/loan)"
    )
    parser.add_argument("--output", type=Path, help="archive to write (default: the next free number)")
    parser.add_argument("--as-of", help="month in which the loans were recorded (2016-01), if the file does not say it")
    parser.add_argument("--cost-ratio", type=float, help="cost of a missed risky loan in false alarms")
    parser.add_argument(
        "--max-iter", type=int, help="number of models to fit for each feature set, for a repeatable search"
    )
    parser.add_argument(
        "--widen-bounds", action="store_true", help="widen the archive's bounds to hold all cleaned loans"
    )
    parser.add_argument("--no-backdating", dest="backdated", action="store_false", help="train without backdated loans")
    parser.add_argument("--owner", help="who owns the model, for the card")
    parser.add_argument("--approved-by", help="who approved its use, for the card")
    for name in ("time_budget", "max_trees", "max_leaves", "seed", "synthetic_rows", "search_log"):
        value = getattr(defaults, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(value), default=value, help="default: %(default)s")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        run(Training(Settings(**vars(parser.parse_args(arguments)))))
    except CreditRiskError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
