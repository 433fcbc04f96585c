"""Measures the drift tests' power and false alarms, on draws from real loans, judged as by the alert rules.

Run it with `LOAN_DATA=loan.csv.gz python -m benchmarks.drift`; docs/drift.md has the table.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import report
from credit_risk_model import archive
from credit_risk_model.drift.counting import Counted, LoanCount
from credit_risk_model.drift.judging import OF_SCORE, judge
from credit_risk_model.drift.reference import Bins, Reference
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training import cleaning, fitting
from credit_risk_model.training.archived_models import ArchivedModels
from credit_risk_model.training.loans import ISSUE_MONTH, read_loans
from credit_risk_model.training.reference import make_references

logger = logging.getLogger(__name__)

SEED = 42
MONTHS_APART = 2.5
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Book:
    """Loans to draw from, each as bins and probability."""

    places: Places
    probability: npt.NDArray[np.float64]

    def take(self, rows: Places) -> "Book":
        """Take some loans; a row may repeat."""
        return Book(self.places[rows], self.probability[rows])

    def draw(self, size: int, rng: np.random.Generator) -> "Book":
        """Draw loans with replacement."""
        return self.take(rng.integers(len(self.probability), size=size))

    def join(self, other: "Book") -> "Book":
        """Append another book's loans."""
        return Book(np.concatenate([self.places, other.places]), np.concatenate([self.probability, other.probability]))


class Judge:
    """Sorts loans into a reference's bins, and judges draws of them."""

    def __init__(self, reference: Reference, models: ArchivedModels) -> None:
        self.reference, self._models = reference, models

    def place(self, loans: pd.DataFrame) -> Book:
        """Sort loans into the bins, each with the archive's probability."""
        probability = self._models.predict(loans, withhold_age=self.reference.age == "unknown")
        columns = [_place(bins, loans, probability) for bins in self.reference.bins]
        return Book(np.column_stack(columns), probability)

    def find(self, drawn: Book) -> set[str]:
        """List the features that drifted."""
        counts = [
            np.bincount(drawn.places[:, column], minlength=len(bins.shares)).tolist()
            for column, bins in enumerate(self.reference.bins)
        ]
        counted = Counted(counts, float(drawn.probability.sum()), len(drawn.probability))
        findings = judge(self.reference, counted)
        return {finding.feature for finding in findings if finding.drifted}


def _place(bins: Bins, loans: pd.DataFrame, probability: npt.NDArray[np.float64]) -> Places:
    if bins.feature in OF_SCORE:
        values = probability
    elif bins.levels:
        codes = loans[bins.feature].cat.codes.astype(float)
        values = codes.where(codes >= 0).to_numpy()
    else:
        values = loans[bins.feature].to_numpy(float)
    return np.array([bins.place(None if np.isnan(value) else value) for value in values.tolist()])


class Draws:
    """Draws from running loans, judged by the reference of known or unknown age."""

    def __init__(self, path: Path) -> None:
        loans = cleaning.clean(read_loans(path, None).loans).loans
        split = fitting.split(loans, SEED)
        packaged = archive.read(archive.newest())
        self._models, self._cut_off = ArchivedModels(packaged), packaged.metadata.cut_off
        self._rng = np.random.default_rng(SEED)
        self._training, self._test = (part[fitting.is_running(part)] for part in (split.training, split.test))
        self.references = self._make_references(self._training, self._test)

    def _make_references(self, training: pd.DataFrame, test: pd.DataFrame) -> dict[str, Reference]:
        made = make_references(training, test, self._models.answer(test), self._cut_off)
        return {reference.age: reference for reference in made}

    def use(self, age: str) -> None:
        """Switch to the reference of loans with or without their age."""
        test = self._test
        months = (test[ISSUE_MONTH] - test[ISSUE_MONTH].mode()[0]).abs().dt.days / 30
        self._age = age
        self._judge = Judge(self.references[age], self._models)
        self._book, self._of_training = self._judge.place(test), self._judge.place(self._training)
        self._others = self._judge.place(test[months > MONTHS_APART])
        self._dearer = self._judge.place(test.assign(interest_rate=test["interest_rate"] + 0.5))
        self._of_score = sum(bins.feature in OF_SCORE for bins in self._judge.reference.bins)

    def own(self, size: int) -> Book:
        """Draw from the reference's own loans: fields from the training set, probabilities from the test set."""
        fields, scored = self._of_training.draw(size, self._rng), self._book.draw(size, self._rng)
        places = [fields.places[:, : -self._of_score], scored.places[:, -self._of_score :]]
        return Book(np.concatenate(places, axis=1), scored.probability)

    def mixed(self, size: int, share: float) -> set[str]:
        """Judge loans of which a share was issued in other months."""
        foreign = int(self._rng.binomial(size, share))
        return self._judge.find(self.own(size - foreign).join(self._others.draw(foreign, self._rng)))

    def unseen(self, size: int) -> set[str]:
        """Judge loans of the test set, drawn without replacement."""
        return self._judge.find(self._book.take(self._rng.permutation(len(self._test))[:size]))

    def halves(self, size: int) -> set[str]:
        """Judge loans of one half by a reference of the other half, drawn without replacement."""
        first = [self._rng.permutation(len(part)) < len(part) / 2 for part in (self._training, self._test)]
        half = Judge(self._make_references(self._training[first[0]], self._test[first[1]])[self._age], self._models)
        rest = self._test[~first[1]]
        return half.find(half.place(rest.iloc[self._rng.permutation(len(rest))[:size]]))

    def day(self, size: int) -> set[str]:
        """Judge the last 24 hours at each hour of a day."""
        two_days = self.own(2 * size)
        starts = (hour * size // 24 for hour in range(24))
        return set().union(*(self._judge.find(two_days.take(np.arange(start, start + size))) for start in starts))

    def dearer(self, size: int) -> set[str]:
        """Judge loans with a rate half a point higher and unchanged payments."""
        return self._judge.find(self._dearer.draw(size, self._rng))


def measure(draws: Draws, repeats: int) -> list[dict[str, object]]:
    """Measure the table's rows."""
    cases: list[tuple[str, Callable[[int], set[str]], tuple[int, ...]]] = [
        ("nothing drifted", partial(draws.mixed, share=0), (500, 2000, 10_000, 50_000)),
        ("nothing drifted; loans that the model has not seen, none twice", draws.unseen, (500, 2000)),
        ("nothing drifted; a reference of other loans, none twice", draws.halves, (500, 1000)),
        ("nothing drifted; a day, judged each hour", draws.day, (500, 2000, 10_000)),
        ("another vintage", partial(draws.mixed, share=1), (500,)),
        ("a fifth of another vintage", partial(draws.mixed, share=0.2), (500,)),
        ("a tenth of another vintage", partial(draws.mixed, share=0.1), (2000,)),
        ("a twentieth of another vintage", partial(draws.mixed, share=0.05), (10_000,)),
        ("half a point of rate", draws.dearer, (2000,)),
    ]
    rows: list[dict[str, object]] = []
    for age in draws.references:
        draws.use(age)
        for case, draw, sizes in cases:
            for size in sizes:
                found = [draw(size) for _ in range(repeats)]
                row = {
                    "age": age,
                    "case": case,
                    "loans": size,
                    "found": float(np.mean([bool(names) for names in found])),
                    "by the probability": float(np.mean([bool(names & set(OF_SCORE)) for names in found])),
                    "by a field": float(np.mean([bool(names - set(OF_SCORE)) for names in found])),
                }
                logger.info("%s", row)
                rows.append(row)
    return rows


def measure_cost(reference: Reference) -> dict[str, float]:
    """Measure the cost of counting a loan, in microseconds of processor time: the minimum of some rounds."""
    count, loan = LoanCount(reference), CreditRiskModelInput.model_validate(EXAMPLE_LOAN)
    rounds = []
    for _ in range(20):
        began = time.process_time_ns()
        for _ in range(2000):
            count.add(loan, 0.1)
        rounds.append((time.process_time_ns() - began) / 2000 / 1000)
    return {"microseconds a loan": min(rounds)}


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000, help="draws of each case (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if "LOAN_DATA" not in os.environ:
        parser.exit(1, "Set LOAN_DATA to a file of real loans: the drift of synthetic ones means nothing.\n")
    draws = Draws(Path(os.environ["LOAN_DATA"]))
    report.write(
        "drift",
        "How often the drift tests find what drifted, and what did not",
        f"LOAN_DATA=loan.csv.gz python -m benchmarks.drift --repeats {options.repeats}",
        {
            "Share of draws in which drift was found": measure(draws, options.repeats),
            "Cost of counting a loan": [measure_cost(draws.references["known"])],
        },
        [
            "Running loans, most of them of one month of issue; another vintage: those issued three months or more "
            "before or after it. Draws are with replacement from what the reference is of, but where the row says that "
            "no loan comes twice.",
        ],
    )


if __name__ == "__main__":
    main()
