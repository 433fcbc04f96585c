"""Finds and reads the loan book of a training."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from credit_risk_model.archive import DataRecord
from credit_risk_model.errors import ConfigurationError
from credit_risk_model.tables.columns import STATUS
from credit_risk_model.training.loans import ENDED_STATUSES, LABEL, hash_file, read_loans
from credit_risk_model.training.settings import Settings
from credit_risk_model.training.synthetic import write_synthetic_loan_book

logger = logging.getLogger(__name__)

DEFAULT_DATA = Path("data/loan/loan.csv")
SYNTHETIC_DATA = Path("data/synthetic/training_loan.csv")  # `make synthetic-data` writes another file


@dataclass(frozen=True)
class Book:
    """A loan book.

    Attributes:
        loans: The loans that `read_loans` returns.
        record: Name, digest and kind of the file.
        ended_share: Share of its loans that have ended.
    """

    loans: pd.DataFrame
    record: DataRecord
    ended_share: float

    @property
    def synthetic(self) -> bool:
        """Whether the loans are made up."""
        return self.record.kind == "synthetic"

    def table(self) -> pd.DataFrame:
        """Count the loans by label and status."""
        by_status = self.loans.groupby([LABEL, STATUS], observed=True).size().rename("loans").to_frame()
        return by_status.assign(share=(by_status["loans"] / len(self.loans)).round(4))


def find_data(settings: Settings) -> Path:
    """Find the file of loans; if there is none, make a synthetic one and log a warning.

    Raises:
        ConfigurationError: There is no file, and `synthetic_rows` is below 1.
    """
    if settings.data is not None:
        return settings.data
    if os.environ.get("LOAN_DATA"):
        return Path(os.environ["LOAN_DATA"])
    if DEFAULT_DATA.exists():
        return DEFAULT_DATA
    logger.warning(
        "There is no %s, and LOAN_DATA is not set: training on a SYNTHETIC loan book of %s loans. Run `make data` to "
        "fetch real ones.",
        DEFAULT_DATA,
        f"{settings.synthetic_rows:,}",
    )
    if settings.synthetic_rows < 1:
        raise ConfigurationError(f"synthetic_rows is {settings.synthetic_rows}: set 1 or more.")
    write_synthetic_loan_book(SYNTHETIC_DATA, settings.synthetic_rows, settings.seed)
    return SYNTHETIC_DATA


def read_book(path: Path, as_of: str | None) -> Book:
    """Read a loan book.

    Args:
        path: The file.
        as_of: The month in which the loans' state was recorded, for files that do not say it.

    Raises:
        DataError: The file can't be used.
        ConfigurationError: `as_of` is not a month.
    """
    found = read_loans(path, as_of)
    record = DataRecord(
        kind="synthetic" if found.synthetic else "loans",
        file=path.name,
        sha256=hash_file(path),  # hashed now, since the file may be replaced while the training runs
        rows=len(found.loans),
        age=found.age,
    )
    return Book(found.loans, record, float(found.loans[STATUS].isin(ENDED_STATUSES).mean()))
