"""Python interface of the model, for single loans and frames of loans."""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from credit_risk_model.errors import ConfigurationError, DataError, MissingPackageError
from credit_risk_model.loan_age import parse_as_of
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import CreditRiskModelOutput

Frame = TypeVar("Frame")
Errors = Literal["return", "raise"]
_SPARK_TYPES = {"risk_probability": "DOUBLE", "credit_risk": "STRING", "cautions": "STRING", "rejected": "STRING"}


class LoanModel:
    """A loaded archive that scores loans exactly as the service does. `credit_risk_model.load` creates one.

    Attributes:
        version: The archive's version.
        sha256: The archive's digest, in hexadecimal.
        cut_off: A loan is risky from this probability on.
        spark_schema: The columns of the scores as Spark's DDL, for `mapInArrow`.
    """

    spark_schema = ", ".join(f"{name} {kind}" for name, kind in _SPARK_TYPES.items())

    def __init__(self, path: str | Path | None, sha256: str | None = None) -> None:
        """Load an archive, as `credit_risk_model.load` does."""
        self._path = None if path is None else str(path)
        self._model = CreditRiskModel(self._path, sha256)
        archive = self._model.archive
        self._contract = archive.metadata.contract
        self.version, self.sha256, self.cut_off = archive.metadata.model_version, archive.sha256, self._model.cut_off
        # Pinned, in case the file has been replaced in the meantime.
        self._explanation = CreditRiskExplanation(self._path, archive.sha256)

    def __reduce__(self) -> "tuple[Callable[[str | None, str], LoanModel], tuple[str | None, str]]":
        """Pickle the archive's path and digest: another process loads the same archive or fails."""
        return _load_pinned, (self._path, self.sha256)

    def predict(self, loan: dict[str, Any]) -> CreditRiskModelOutput:
        """Predict one loan; thread-safe.

        Args:
            loan: The fields of a request, by the contract's names.

        Raises:
            DataError: The loan violates the contract; the message names each wrong field, but no value.

        Examples:
            >>> import credit_risk_model
            >>> from credit_risk_model.examples import EXAMPLE_LOAN
            >>> answer = credit_risk_model.load().predict(EXAMPLE_LOAN)
            >>> answer.credit_risk.value, round(answer.risk_probability, 4), answer.cautions
            ('risky', 0.909, ())
        """
        try:
            request = self._contract.loan.model_validate(loan)
        except ValidationError as error:
            found = error.errors(include_input=False, include_url=False)
            wrong = [f"{'.'.join(map(str, each['loc'])) or 'the loan'}: {each['msg']}" for each in found]
            raise DataError(f"The loan violates the contract: {'; '.join(wrong)}.") from None
        return self._model.predict(request)

    def score(
        self,
        frame: Frame,
        *,
        errors: Errors = "return",
        as_of: str | None = None,
        accept_scale: Collection[str] = (),
    ) -> Frame:
        """Score a frame of loans on all cores; thread-safe.

        Args:
            frame: A pandas or Polars frame, or an Arrow table, with the contract's column names or Kaggle's. Other
                columns are ignored. Unambiguous spellings of levels are accepted, and dollars may have cents: a log
                line counts these conversions. Without `instalments_due`, the age is computed as for files: from the
                month of issue to the month of the record.
            errors: `return`: rows that violate the contract come back with their reasons. `raise`: they raise an error.
            as_of: Month in which the loans were recorded, as 2016-01, for frames without dates of their own.
            accept_scale: Fields that are scored although nearly all their values seem to be in another unit: fractions
                instead of percents, or thousands of dollars instead of dollars.

        Returns:
            A frame of the same kind and with the same index, with a row for each loan: `risk_probability`,
            `credit_risk` (`risky` or `safe`), `cautions` (codes separated by semicolons, usually empty) and `rejected`.
            The last one says why a row violates the contract, without any value; the others are then null.

        Raises:
            DataError: A column is missing, unreadable or in another unit, or a row violates the contract and `errors`
                is `raise`.
            ConfigurationError: `as_of` is not a month, or `errors` is neither word.
            MissingPackageError: NumPy or Arrow is not installed.

        Examples:
            >>> import credit_risk_model, pandas
            >>> from credit_risk_model.examples import EXAMPLE_LOAN
            >>> loans = pandas.DataFrame([EXAMPLE_LOAN, {**EXAMPLE_LOAN, "term": "soon"}], index=["first", "second"])
            >>> credit_risk_model.load().score(loans)[["credit_risk", "rejected"]]
                   credit_risk             rejected
            first        risky                 None
            second        None  term: unknown level
        """
        self._check(errors)
        frames = _import_frames()
        options = frames.Options(errors, as_of, accept_scale)
        answers: Frame = frames.score_frame(self._model.archive, self.cut_off, frame, options)
        return answers

    def explain(
        self,
        frame: Frame,
        *,
        errors: Errors = "return",
        as_of: str | None = None,
        accept_scale: Collection[str] = (),
    ) -> Frame:
        """Score and explain a frame of loans, at some milliseconds a loan; thread-safe.

        Args:
            frame: As `score` takes it.
            errors: As in `score`.
            as_of: As in `score`.
            accept_scale: As in `score`.

        Returns:
            The columns of `score`, and `reason_1` to `reason_4`: the principal reasons for each decision, strongest
            first, as in the service; null if there are fewer.

        Raises:
            As `score`.

        Examples:
            >>> import credit_risk_model, pandas
            >>> from credit_risk_model.examples import EXAMPLE_LOAN
            >>> credit_risk_model.load().explain(pandas.DataFrame([EXAMPLE_LOAN])).reason_1[0]
            'Payments are 2.0 instalments behind schedule, which raises the risk.'
        """
        self._check(errors)
        frames = _import_frames()
        answers: Frame = frames.explain_frame(self._explanation, frame, frames.Options(errors, as_of, accept_scale))
        return answers

    def score_batches(
        self, batches: Iterable[Frame], *, keep: Collection[str] = (), as_of: str | None = None
    ) -> Iterator[Frame]:
        """Score the parts of a larger table one by one, on the calling thread: `loans.mapInArrow(...)` in Spark.

        A part's scores do not depend on the other parts. So this method can't detect columns in another unit: use
        `score` on a sample of the table, which does.

        Args:
            batches: Record batches or frames, as for `score`.
            keep: Columns to return before the scores, such as an id.
            as_of: Month in which the loans were recorded, as 2016-01. It is required for loans with `issue_d`, but
                without `instalments_due` and `snapshot_d`. The latest date, which `score` uses, is not known here.

        Yields:
            For each part one of the same kind with the kept columns and those of `score`, a row for each loan in the
            same order.

        Raises:
            DataError: A column is missing or unreadable, or the loans need `as_of`.
            ConfigurationError: `as_of` is not a month, or a kept column has the name of a score column.
            MissingPackageError: NumPy or Arrow is not installed.

        Examples:
            >>> import credit_risk_model, pyarrow
            >>> from credit_risk_model.examples import EXAMPLE_LOAN
            >>> loans = pyarrow.RecordBatch.from_pylist([{"id": 7, **EXAMPLE_LOAN}])
            >>> for scores in credit_risk_model.load().score_batches([loans], keep=["id"]):
            ...     print(scores["id"][0], scores["credit_risk"][0])
            7 risky
        """
        parse_as_of(as_of)
        if taken := [name for name in keep if name in _SPARK_TYPES]:
            raise ConfigurationError(f"keep names {taken[0]!r}, which is also a column of the scores: rename it first.")
        scores: Iterator[Frame] = _import_frames().score_batches(
            self._model.archive, self.cut_off, batches, keep, as_of
        )
        return scores

    @staticmethod
    def _check(errors: str) -> None:
        if errors not in ("return", "raise"):
            raise ConfigurationError(f"errors is {errors!r}: choose 'return' or 'raise'.")


def load(path: str | Path | None, sha256: str | None) -> LoanModel:
    """Load a model, as `credit_risk_model.load` does."""
    return LoanModel(path, sha256)


@cache
def _load_pinned(path: str | None, sha256: str) -> LoanModel:
    """Load a pickled model once in a process: a worker keeps it from one task to the next."""
    return LoanModel(path, sha256)


def _import_frames() -> ModuleType:
    """Import the code for frames; programs that score single loans need not have its packages."""
    try:
        from credit_risk_model.prediction import frames  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingPackageError.of("Frames of loans need", error, "scoring") from None
    return frames
