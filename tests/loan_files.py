"""Writes rows of loans as CSV, and reads files of loans."""

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd

from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Chunk, Shard
from credit_risk_model.training import loans

KAGGLE_LOAN = {
    "annual_inc": "65000.0",
    "collections_12_mths_ex_med": "0.0",
    "delinq_2yrs": "1.0",
    "dti": "17.2",
    "emp_length": "10+ years",
    "home_ownership": "RENT",
    "acc_now_delinq": "0.0",
    "installment": "407.23",
    "int_rate": "13.5",
    "last_pymnt_amnt": "407.23",
    "loan_amnt": "12000.0",
    "loan_status": "Current",
    "pub_rec": "0.0",
    "purpose": "car",
    "revol_util": "54.0",
    "term": " 36 months",
    "total_pymnt_inv": "814.46",
    "verification_status": "Verified",
}


def read(path: Path, ids: tuple[str, ...] = (), shard: Shard | None = None) -> list[Chunk]:
    """Read all chunks of a file."""
    return [task.parse() for task in open_source(path, ids, shard).tasks()]


def read_rows(path: Path, ids: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Read all rows of a file, with levels as text."""
    rows = [row for chunk in read(path, ids) for row in chunk.table.to_pylist()]
    return [
        {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()} for row in rows
    ]


def to_csv(rows: list[dict[str, Any]], **options: Any) -> str:
    """Write rows as CSV with a header; options are those of `csv.DictWriter`."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], **{"lineterminator": "\n", **options})
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_loans(path: Path) -> pd.DataFrame:
    """Read a file of loans as training does."""
    return loans.read_loans(path).loans


def write_loans(path: Path, *changes: dict[str, str], extra: str = "desc") -> Path:
    """Write a loan.csv with a row for each of the changes to `KAGGLE_LOAN`, and one unneeded column."""
    rows = [{**KAGGLE_LOAN, **change, extra: "a text,\nof two lines"} for change in changes]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
