"""Synthetic loans in chunks, and the file that holds them."""

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from credit_risk_model.training.synthetic.borrowers import draw_borrowers
from credit_risk_model.training.synthetic.draws import CHUNK_ROWS, format_months
from credit_risk_model.training.synthetic.layout import ADDRESS, COLUMNS
from credit_risk_model.training.synthetic.oddities import blank_missing_values, plant_odd_values
from credit_risk_model.training.synthetic.repayment import draw_repayment, draw_statuses
from credit_risk_model.training.synthetic.terms import draw_issue_months, draw_terms
from credit_risk_model.whole_file import open_whole


def make_synthetic_loan_book(rows: int, seed: int = 42) -> pd.DataFrame:
    """Make a whole synthetic loan book in memory.

    Args:
        rows: Number of loans, at least 1.
        seed: Seed, at least 0. The same seed gives the same loans, whatever the number of rows.

    Returns:
        The loans in random order under `COLUMNS`: amounts in USD, rates in percent a year, months as `Sep-2015`,
        and `n/a` where the employment length is missing, as the file has it.

    Raises:
        ValueError: If there is not at least one row, or the seed is negative.
    """
    return pd.concat(_chunks(rows, seed), ignore_index=True)


def write_synthetic_loan_book(
    path: Path, rows: int, seed: int = 42, progress: Callable[[int], object] | None = None
) -> None:
    """Write a synthetic loan book as CSV, whole or not at all.

    The same rows and seed give the same bytes. Memory stays flat, whatever the number of rows.

    Args:
        path: The file to write or replace; gzip-compressed if its name ends in `.gz`. Its folder is made if missing.
        rows: Number of loans, at least 1.
        seed: Seed, at least 0.
        progress: Called after each chunk with the number of loans just written.

    Raises:
        ValueError: If there is not at least one row, or the seed is negative.
        OSError: If the file cannot be written.
    """
    chunks = _chunks(rows, seed)
    with _open_text(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for chunk in chunks:
            writer.writerows(_cells(chunk))
            if progress is not None:
                progress(len(chunk))


def _chunks(rows: int, seed: int) -> Iterator[pd.DataFrame]:
    if rows < 1:
        raise ValueError(f"A loan book of {rows} rows cannot be made: ask for at least 1 row.")
    if seed < 0:
        raise ValueError(f"The seed {seed} is negative: give 0 or more.")
    return (_chunk(seed, start).head(rows - start) for start in range(0, rows, CHUNK_ROWS))


def _chunk(seed: int, start: int) -> pd.DataFrame:
    rng = np.random.default_rng([seed, start // CHUNK_ROWS])
    issued = draw_issue_months(rng)
    loans = draw_borrowers(rng)
    loans |= draw_terms(rng, loans, issued)
    loans["loan_status"] = draw_statuses(rng, loans, issued)
    loans |= draw_repayment(rng, loans, issued)
    numbers = 900_000_000 + start + np.arange(CHUNK_ROWS)
    loans |= {
        "id": numbers,
        "member_id": numbers + 50_000_000,
        "issue_d": format_months(issued),
        "url": np.array([f"{ADDRESS}{number}" for number in numbers.tolist()], dtype=object),
    }
    plant_odd_values(rng, loans)
    blank_missing_values(rng, loans, issued)
    blank = np.full(CHUNK_ROWS, np.nan)
    return pd.DataFrame({name: loans.get(name, blank) for name in COLUMNS})


def _cells(chunk: pd.DataFrame) -> Iterable[tuple[object, ...]]:
    # The csv module writes a float as its shortest exact text, several times faster than DataFrame.to_csv.
    columns = (chunk[name] for name in COLUMNS)
    return zip(
        *(
            (column.astype(object).where(column.notna(), None) if column.hasnans else column).tolist()
            for column in columns
        ),
        strict=True,
    )


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    with open_whole(path) as raw:
        if path.suffix == ".gz":
            # Neither name nor time goes into the header, or the same loans would not be the same bytes.
            with (
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
                io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
            ):
                yield text
        else:
            plain = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            try:
                yield plain
            finally:
                plain.detach()  # flushes; the file below stays open, to be synced
