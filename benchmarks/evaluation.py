"""Measures the cost of encoding and evaluating one loan, and the AUC of models by their trees, leaves and cost."""

import argparse
import ctypes
import logging
import os
import statistics
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from benchmarks import report
from benchmarks.bounds import QUICK, Grid, compare_bounds, describe_verdict, plot_bounds
from benchmarks.timing import Row, measure_microseconds, summarize
from credit_risk_model import archive, features
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training import fitting
from credit_risk_model.training.cleaning import clean
from credit_risk_model.training.loans import read_loans
from credit_risk_model.training.synthetic import write_synthetic_loan_book

logger = logging.getLogger(__name__)

MAX_TIMES_OF_C_CALL = 1.5
MAX_MICROSECONDS = 30.0
"""Maximum cost of evaluating an encoded loan, in LightGBM's own calls; and of encoding and evaluating one."""

LOANS = 2000
"""Loans in rotation: each takes different branches, so that the processor can't predict them."""
ROUNDS, QUICK_ROUNDS = 9, 3
SYNTHETIC_ROWS = 50_000


class CCall:
    """LightGBM's single-row call with all arguments prepared in advance.

    It uses the library that LightGBM's own Python package has loaded.
    """

    def __init__(self, text: str, rows: Sequence[Sequence[float]]) -> None:
        library = lightgbm.basic._LIB  # type: ignore[attr-defined]  # what its own package calls
        self._booster = ctypes.c_void_p()
        self._config = ctypes.c_void_p()
        library.LGBM_BoosterLoadModelFromString(
            text.encode(), ctypes.byref(ctypes.c_int()), ctypes.byref(self._booster)
        )
        # Probabilities, all trees, of float64 numbers.
        library.LGBM_BoosterPredictForMatSingleRowFastInit(
            self._booster, 0, 0, -1, 1, ctypes.c_int32(len(rows[0])), b"num_threads=1", ctypes.byref(self._config)
        )
        self._call = library.LGBM_BoosterPredictForMatSingleRowFast
        self._answer = ctypes.c_double()
        self._outputs = ctypes.byref(ctypes.c_int64()), ctypes.byref(self._answer)
        self.prepared = [(ctypes.c_double * len(row))(*row) for row in rows]

    def __call__(self, prepared: object) -> None:  # noqa: D102  # the class says it
        self._call(self._config, prepared, *self._outputs)

    def answers(self) -> list[float]:
        """Return the probabilities of the prepared rows."""
        found = []
        for row in self.prepared:
            self(row)
            found.append(self._answer.value)
        return found


def measure_shipped(loans: Sequence[CreditRiskModelInput], rounds: int) -> tuple[list[Row], list[Row]]:
    """Time the service's steps for one loan, with the shipped archive.

    Returns:
        Microseconds by step, and the two targets.
    """
    shipped = archive.read(archive.newest())
    booster, encode = shipped.model_for(loans[0]).booster, features.AGE_KNOWN.encode_loan
    text = _model_text(archive.newest())
    usual = lightgbm.Booster(model_str=text)
    rows = [encode(loan) for loan in loans]
    arrays = [np.array([row]) for row in rows]
    call = CCall(text, rows)
    _refuse_differences(usual.predict(np.array(rows)), call.answers(), [booster.predict_row(row) for row in rows])
    evaluate = booster.predict_row
    found = measure_microseconds(
        {
            "LightGBM's C call, arguments prepared": (call, call.prepared),
            "evaluate: Booster.predict_row of an encoded loan": (evaluate, rows),
            "encode: a validated loan": (encode, loans),
            "encode and evaluate": (lambda loan: evaluate(encode(loan)), loans),
            "lightgbm.Booster.predict of an array, one thread": (lambda row: usual.predict(row, num_threads=1), arrays),
        },
        rounds,
    )
    bare, evaluated, _, both, _ = found.values()
    ratio = statistics.median(ours / floor for ours, floor in zip(evaluated, bare, strict=True))
    targets = [
        {"what": "evaluate, to LightGBM's C call", "found": ratio, "target": f"at most {MAX_TIMES_OF_C_CALL}"},
        {
            "what": "encode and evaluate, microseconds",
            "found": statistics.median(both),
            "target": f"at most {MAX_MICROSECONDS:g}",
        },
    ]
    return [{"what": name, **summarize(times)} for name, times in found.items()], targets


def _model_text(path: Path) -> str:
    with zipfile.ZipFile(path) as contents:
        return contents.read(archive.MODEL).decode()


def _refuse_differences(*answers: Sequence[float] | npt.NDArray[np.float64]) -> None:
    """Refuse to measure contenders that give different probabilities."""
    if any(list(found) != list(answers[0]) for found in answers[1:]):
        raise RuntimeError("The contenders give different probabilities, so nothing was measured.")


@contextmanager
def _loans(data: Path | None) -> Iterator[tuple[pd.DataFrame, str]]:
    """Read and clean the loans, or synthetic ones if there is no file; yield them with a description."""
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            data = Path(folder) / "loan.csv"
            write_synthetic_loan_book(data, SYNTHETIC_ROWS)
        book = read_loans(data)
        kind = "synthetic" if book.synthetic else "real"
        loans = clean(book.loans).loans
        yield loans, f"{len(loans):,} {kind} loans after cleaning"


def _requests(loans: pd.DataFrame) -> list[CreditRiskModelInput]:
    """Return the first loans that the contract allows, as validated requests."""
    requests = []
    fields = loans[fitting.FIELDS].dropna().head(LOANS)
    for loan in fields.to_dict("records"):
        try:
            requests.append(CreditRiskModelInput.model_validate(loan))
        except ValidationError:
            logger.debug("a loan out of the contract's bounds")
    return requests


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="few bounds, one learning rate, one split")
    parser.add_argument("--data", type=Path, help="a loan.csv (default: LOAN_DATA, else synthetic loans)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    data = options.data or (Path(os.environ["LOAN_DATA"]) if os.environ.get("LOAN_DATA") else None)
    name = "evaluation_quick" if options.quick else "evaluation"
    with _loans(data) as (loans, described):
        requests = _requests(loans)
        rounds = QUICK_ROUNDS if options.quick else ROUNDS
        steps, targets = measure_shipped(requests, rounds)
        bounds = compare_bounds(loans, requests, QUICK if options.quick else Grid(), rounds)
    report.replace(report.RESULTS / f"{name}.svg", plot_bounds(bounds))
    tables = {"One loan, the shipped model": steps, "Targets": targets, "Bounds of trees and leaves": bounds}
    command = f"python -m benchmarks.evaluation{' --quick' * options.quick}"
    _, page = report.write(
        name, "What evaluating a loan costs", command, tables, _notes(name, described, bounds, rounds)
    )
    sys.stdout.write(page.read_text())


def _notes(name: str, described: str, bounds: Sequence[Row], rounds: int) -> list[str]:
    return [
        f"![Test AUC against microseconds]({name}.svg)",
        describe_verdict(bounds),
        f"On {described}; {LOANS:,} of them in rotation, all contenders' answers equal to the last bit. "
        f"Medians of {rounds} rounds that alternate the contenders; processor time of the calling thread, "
        "the interpreter's share included.",
        "Each bound's model has the shipped model's hyper-parameters, but its own learning rate, the best one on a "
        "fifth of the training set; its test AUC is the mean over the split seeds.",
    ]


if __name__ == "__main__":
    main()
